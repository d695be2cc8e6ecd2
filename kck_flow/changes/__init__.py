"""WRITE: save -> capture -> mark or change on its way -> drain, fold."""
