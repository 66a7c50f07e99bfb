"""Puts together what uploads work with: who is given what is said here, and nowhere else."""

from mediastore.access.policies import Policies
from mediastore.catalog.pool import Catalog
from mediastore.chunkstore.protocol import ChunkStore
from mediastore.clock import Clock
from mediastore.hooks.posting import Poster
from mediastore.memory import MemoryBudget
from mediastore.settings import Settings
from mediastore.telemetry.metrics import Metrics
from mediastore.uploads.admission import Admission
from mediastore.uploads.batch import BatchStore
from mediastore.uploads.before_create import BeforeCreate
from mediastore.uploads.finishing import Finisher
from mediastore.uploads.joining import Joiner
from mediastore.uploads.parts import UploadParts
from mediastore.uploads.rechunking import Rechunker
from mediastore.uploads.running_hash import RunningHashes
from mediastore.uploads.trust import StoreTrust


def assemble(
    settings: Settings,
    clock: Clock,
    catalog: Catalog,
    store: ChunkStore,
    memory: MemoryBudget,
    metrics: Metrics,
    *,
    policies: Policies,
    poster: Poster,
) -> UploadParts:
    """Nothing runs yet: whoever serves uploads starts the sweeps, and closes the jobs."""
    trust = StoreTrust(catalog, store, clock)
    batches = BatchStore(store, metrics, trust)
    hashes = RunningHashes(settings.uploads.takeover_hashers_max)
    rechunker = Rechunker(catalog, store, batches, memory, hashes, metrics, settings)
    hook = BeforeCreate(poster, settings, clock, metrics)
    admission = Admission(policies, hook, settings.uploads)
    finisher = Finisher(
        catalog, store, memory, rechunker, admission, settings, clock, metrics, trust
    )
    return UploadParts(
        settings=settings,
        clock=clock,
        catalog=catalog,
        store=store,
        memory=memory,
        metrics=metrics,
        batches=batches,
        hashes=hashes,
        rechunker=rechunker,
        finisher=finisher,
        joiner=Joiner(catalog, hashes, finisher, admission, metrics, clock),
        admission=admission,
        trust=trust,
    )
