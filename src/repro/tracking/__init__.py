"""Trackers mirror a trial's curve and record for those who watch; the store holds the result."""

from repro.tracking.build import make_tracker as make_tracker
from repro.tracking.queued import NullTracker as NullTracker
from repro.tracking.queued import Tracker as Tracker
