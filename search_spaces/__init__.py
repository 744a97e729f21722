"""Define-by-run search spaces: functions that ask a trial for choices and return a `TrialConfig`."""
