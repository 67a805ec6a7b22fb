"""Methods: torch only; they know no model family. A method owns every trainable tensor and makes an `Injection`."""
