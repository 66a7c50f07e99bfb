"""The settings of pictures: a section like those of sections.py."""

from typing import Literal, Self

from pydantic import Field, model_validator

from mediastore.sections import DAY_SECONDS, GIB, HOUR_SECONDS, KIB, MIB, Section

Format = Literal["AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP", "HEIF"]


class ImagesSettings(Section):
    """Pictures made of uploaded ones. They are decoded in processes of their own."""

    presets: dict[str, str] = Field(
        default_factory=dict,
        description='Named transforms, `card = "fill-300x200"`; a tenant\'s own come first.',
    )
    formats: tuple[Format, ...] = Field(
        ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP", "HEIF"),
        description="What is decoded at all. HEIF needs the package pillow-heif.",
    )
    workers: int = Field(
        2, ge=1, le=64, description="Processes that decode and encode, one picture each at a time."
    )
    worker_memory_bytes: int = Field(
        1 * GIB,
        ge=256 * MIB,
        description="Address space of a worker: what is mapped, code included.",
    )
    worker_jobs_max: int = Field(
        500, ge=1, description="A worker is replaced after so many pictures."
    )
    cpu_seconds: int = Field(
        20, ge=1, le=600, description="Processor time of one picture; past it its worker dies."
    )
    wall_seconds: float = Field(
        60, gt=0, le=900, description="Time of one picture; past it its worker is killed."
    )
    waiting_max: int = Field(
        64, ge=0, description="Pictures that may wait for a worker; more are answered 503."
    )
    waiting_share: float = Field(
        0.5, gt=0, le=1, description="Share of them that may be one tenant's."
    )
    wait_max_seconds: float = Field(
        10, gt=0, description="How long a picture waits for a worker before 503."
    )
    source_max_bytes: int = Field(
        128 * MIB, ge=1, description="Largest file that is decoded; a worker holds it in memory."
    )
    pixels_max: int = Field(
        100_000_000, ge=1, description="Pixels of the largest picture that is decoded."
    )
    frames_max: int = Field(200, ge=1, description="Frames of an animation.")
    animation_pixels_max: int = Field(
        100_000_000, ge=1, description="Pixels of all frames of an animation together."
    )
    result_pixels_max: int = Field(
        40_000_000, ge=1, description="Pixels of what is made, all frames together."
    )
    result_max_bytes: int = Field(
        32 * MIB, ge=1 * KIB, description="Largest file that is made; the service holds it whole."
    )
    failures_kept_seconds: int = Field(
        HOUR_SECONDS,
        ge=0,
        le=DAY_SECONDS,
        description="How long a picture that could not be made is not tried again.",
    )
    believed_seconds: float = Field(
        300, ge=0, le=DAY_SECONDS, description="How long a process remembers a variant unasked."
    )
    believed_max: int = Field(100_000, ge=0, description="Variants that a process remembers.")
    provisional_seconds: int = Field(
        30,
        ge=0,
        le=HOUR_SECONDS,
        description="Lifetime of what is sent in place of a picture that is still being made.",
    )
    preset_seconds: int = Field(
        DAY_SECONDS,
        ge=0,
        le=365 * DAY_SECONDS,
        description="Lifetime in caches of what a preset gives: its meaning may be changed.",
    )

    probes_at_once: int = Field(
        1,
        ge=0,
        le=64,
        description="Uploaded pictures that this process looks at in the background at once; never "
        "more than half of `workers`, and only when nobody waits for one. 0: it looks at none.",
    )
    probe_poll_seconds: float = Field(
        1, gt=0, le=HOUR_SECONDS, description="Pause between looks for pictures that were uploaded."
    )
    probe_attempts_max: int = Field(
        5, ge=1, le=100, description="Tries to look at one picture; then it has failed."
    )
    probe_retry_seconds: float = Field(
        30, gt=0, description="Pause after the first try that failed; four times longer each time."
    )
    probe_retry_max_seconds: float = Field(
        HOUR_SECONDS, gt=0, description="Longest pause between tries."
    )

    @model_validator(mode="after")
    def _killed_only_after_its_time(self) -> Self:
        if self.wall_seconds < self.cpu_seconds:
            raise ValueError("images.wall_seconds must not be below images.cpu_seconds")
        return self
