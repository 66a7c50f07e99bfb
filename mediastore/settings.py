"""The settings as a whole: one model, read from flags, environment and TOML.

Order of precedence: values given in code (command-line flags), environment (`MEDIASTORE_` and two
underscores between levels: `MEDIASTORE_CATALOG__DSN`), the TOML file, the defaults of sections.py.
Relations between settings are checked when the model is built: wrong settings do not start.
"""

from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from mediastore.collection_section import CollectionSettings
from mediastore.errors import BadSettings
from mediastore.hook_sections import EventsSettings, HooksSettings
from mediastore.http_sections import CorsSettings, HttpSettings
from mediastore.images_section import ImagesSettings
from mediastore.origin_sections import CdnSettings, LinksSettings
from mediastore.pull_section import PullSettings
from mediastore.purge_section import PurgeSettings
from mediastore.sections import (
    DAY_SECONDS,
    GIB,
    HOUR_SECONDS,
    KIB,
    MIB,
    CatalogSettings,
    ChunkingSettings,
    ChunkStoreSettings,
    DeliverySettings,
    LogSettings,
    MemorySettings,
    Section,
    UploadSettings,
)

__all__ = [
    "DAY_SECONDS",
    "GIB",
    "HOUR_SECONDS",
    "KIB",
    "MIB",
    "CatalogSettings",
    "CdnSettings",
    "ChunkStoreSettings",
    "ChunkingSettings",
    "CollectionSettings",
    "CorsSettings",
    "DeliverySettings",
    "EventsSettings",
    "HooksSettings",
    "HttpSettings",
    "ImagesSettings",
    "LinksSettings",
    "LogSettings",
    "MemorySettings",
    "PullSettings",
    "PurgeSettings",
    "Section",
    "Settings",
    "UploadSettings",
    "load_settings",
]


class Settings(BaseSettings):
    """All settings of the service and of the collector."""

    model_config = SettingsConfigDict(
        env_prefix="MEDIASTORE_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    http: HttpSettings = HttpSettings()
    cors: CorsSettings = CorsSettings()
    catalog: CatalogSettings = CatalogSettings()
    chunk_store: ChunkStoreSettings = ChunkStoreSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    uploads: UploadSettings = UploadSettings()
    pull: PullSettings = PullSettings()
    memory: MemorySettings = MemorySettings()
    delivery: DeliverySettings = DeliverySettings()
    images: ImagesSettings = ImagesSettings()
    links: LinksSettings = LinksSettings()
    cdn: CdnSettings = CdnSettings()
    purge: PurgeSettings = PurgeSettings()
    hooks: HooksSettings = HooksSettings()
    events: EventsSettings = EventsSettings()
    collection: CollectionSettings = CollectionSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _budget_holds_a_batch(self) -> Self:
        need = 2 * (self.uploads.batch_max_bytes + self.chunking.size_max_bytes)
        if self.memory.budget_bytes < need:
            raise ValueError(
                f"memory.budget_bytes must be at least {need}: two batches and two chunks"
            )
        return self

    @model_validator(mode="after")
    def _claims_outlive_deliveries(self) -> Self:
        if self.events.claim_timeout_seconds < 2 * self.events.timeout_seconds:
            raise ValueError(
                "events.claim_timeout_seconds must be at least twice events.timeout_seconds"
            )
        if self.events.claim_timeout_seconds < 2 * self.purge.timeout_seconds:
            raise ValueError(
                "events.claim_timeout_seconds must be at least twice purge.timeout_seconds"
            )
        return self

    @model_validator(mode="after")
    def _second_purge_comes_after_all_belief(self) -> Self:
        again, believed = self.purge.again_seconds, self.delivery.allowed_cache_seconds
        if 0 < again <= believed:
            raise ValueError("purge.again_seconds must be above delivery.allowed_cache_seconds")
        return self

    @model_validator(mode="after")
    def _purges_name_what_answers_say(self) -> Self:
        for cdn, header in self.purge.tag_headers.items():
            if header not in self.cdn.tag_headers:
                raise ValueError(f"purges of {cdn} need {header} among cdn.tag_headers")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (pydantic's signature)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Settings from `config` (TOML), the environment and `overrides`, which win.

    `overrides` are sections as nested dicts: `load_settings(path, http={"port": 0})`.
    Raises BadSettings, naming every wrong setting.
    """

    if config is not None and not config.is_file():
        raise BadSettings(f"there is no configuration file {config}")

    class Configured(Settings):
        model_config = SettingsConfigDict(toml_file=config)

    try:
        loaded = Configured(**overrides)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'settings'}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        )
        raise BadSettings(wrong) from None
    except ValueError as error:  # a TOML file that does not parse
        raise BadSettings(f"{config}: {error}") from None
    return loaded
