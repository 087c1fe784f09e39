"""How long jobs took is read from Snakemake's own logs."""

from workflow_logs import log

from r2d.experiments import durations

LOG = """\
total             3

[Thu Nov 26 06:11:08 2026]
Job 15: pubmedqa stage1-qlora seed 1
Reason: Missing output files: x
[Thu Nov 26 06:11:10 2026]
Job 7: triage sft-full seed 1
[Thu Nov 26 06:12:08 2026]
Error in rule run:
    jobid: 15
[Fri Nov 27 00:11:10 2026]
Finished jobid: 7 (Rule: run)
1 of 33 steps (3%) done
"""


def test_a_job_took_the_time_between_its_dates_and_a_failed_one_is_left_out():
    assert durations.in_log(LOG.splitlines()) == {"triage sft-full seed 1": 18 * 3600}


def test_the_last_log_counts_and_what_is_no_log_says_nothing(tmp_path):
    (tmp_path / "run-1.log").write_text(log({"a": 5, "b": 7}))
    (tmp_path / "run-2.log").write_text(log({"b": 70}))
    (tmp_path / "run-3.log").write_bytes(b"\xff\nFinished jobid: 1 (Rule: x)\n")
    assert durations.in_logs(tmp_path) == {"a": 5, "b": 70}
    assert durations.in_logs(tmp_path / "nowhere") == {}
