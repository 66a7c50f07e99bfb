"""What a seed's world is like. A scene and a number name a run: `storm-17`."""

from dataclasses import dataclass

from tests.simulation.stepped_catalog import CatalogFaults
from tests.simulation.stepped_store import StoreFaults

CALM = CatalogFaults()
SOUND = StoreFaults()
STORM = CatalogFaults(
    split=0.3,
    lost_before=0.01,
    lost_at_commit=0.01,
    lost_after=0.01,
    deadlock=0.01,
    serialization=0.01,
    failover=0.05,
)


@dataclass(frozen=True, slots=True)
class Scene:
    """How many of whom, and what goes wrong. `miscount`: a bug in counting references that is
    planted now and then, by so much. `released_twice`: it takes a row while somebody has it or
    brings its bytes. `leaps`: clocks are moved, the database's and processes'. `blocks` are brought
    again and again, a fresh one for `fresh_steps`. About `kept_max` objects live at once, at most.
    """

    clients: int = 3
    operators: int = 0
    erasers: int = 0
    steps: int = 2000
    catalog: CatalogFaults = CALM
    store: StoreFaults = SOUND
    crashes: bool = True
    leaps: bool = False
    miscount: int = 0
    released_twice: bool = False
    blocks: int = 3
    fresh_steps: int = 400
    kept_max: int = 5
    delete_share_max: float = 1.0


SCENES = {
    "uploads": Scene(clients=4),
    "verbs": Scene(clients=2, operators=2),
    "erasures": Scene(clients=3, operators=1, erasers=1),
    "storm": Scene(
        clients=3,
        operators=1,
        catalog=STORM,
        store=StoreFaults(before=0.03, after=0.03, slow=0.08, partial=0.6),
    ),
    "clocks": Scene(clients=3, operators=1, leaps=True),
    "lows": Scene(clients=3, operators=1, store=StoreFaults(slow=0.15), miscount=-1),
    "twice": Scene(
        clients=4,
        store=StoreFaults(slow=0.5),
        miscount=-1,
        released_twice=True,
        blocks=0,
        fresh_steps=200,
    ),
    "windows": Scene(clients=3, steps=3000, miscount=-1, blocks=0, fresh_steps=150, kept_max=20),
    "highs": Scene(clients=3, operators=1, miscount=1),
    "brake": Scene(clients=2, crashes=False, delete_share_max=0.02),
}


@dataclass(frozen=True, slots=True)
class Seed:
    """One run."""

    scene: str
    number: int

    @classmethod
    def named(cls, name: str) -> "Seed":
        """Raises ValueError."""
        scene, _, number = name.rpartition("-")
        if scene not in SCENES:
            raise ValueError(f"{name!r}: a seed is one of {', '.join(SCENES)}, a dash and a number")
        return cls(scene, int(number))

    def __str__(self) -> str:
        return f"{self.scene}-{self.number}"
