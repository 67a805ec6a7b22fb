"""Progress for those who watch: a tracker mirrors what the store will hold, and is never the record."""

from repro.tracking.build import TRACKERS as TRACKERS
from repro.tracking.build import WANDB_MODES as WANDB_MODES
from repro.tracking.build import make_tracker as make_tracker
from repro.tracking.queued import QUEUE_SIZE as QUEUE_SIZE
from repro.tracking.queued import NullTracker as NullTracker
from repro.tracking.queued import QueuedTracker as QueuedTracker
from repro.tracking.queued import Tracker as Tracker
