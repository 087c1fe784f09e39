"""One job, one GPU: runs a command on a free device of CUDA_VISIBLE_DEVICES.

    python notebooks/workflow/gpu.py COMMAND ...

Of several devices, the first that no other job of this user holds is locked until the command
ends; with one or none there is nothing to choose. How many jobs run at a time is the workflow's
`gpu` resource.
"""

import fcntl
import os
import sys
import tempfile
import time


def claim(devices: list[str]) -> str:
    """The first free device.

    Its lock is an open file that the command inherits, so that no crash can leave it behind.
    """
    while True:
        for device in devices:
            path = os.path.join(tempfile.gettempdir(), f"r2d-gpu-{os.getuid()}-{device}.lock")
            lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            else:
                os.set_inheritable(lock, True)
                return device
        time.sleep(1)


if __name__ == "__main__":
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    devices = [name.strip() for name in names if name.strip()]
    if len(devices) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = claim(devices)
    os.execvp(sys.argv[1], sys.argv[1:])
