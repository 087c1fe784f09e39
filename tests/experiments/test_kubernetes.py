"""`--on kubernetes`: what is submitted to a stand-in for the cluster's API; nothing is run."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from conftest import project_copy

from r2d import paths


@pytest.fixture
def api(tmp_path):
    """(submitted objects, kubeconfig) of a cluster that says yes, and knows of nothing later."""
    submitted = []

    class Answer(BaseHTTPRequestHandler):
        def answer(self, code, body):
            text = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_POST(self):
            submitted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(201, submitted[-1])

        def do_GET(self):
            self.answer(404, {"kind": "Status", "status": "Failure", "code": 404})

        do_DELETE = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    address = f"http://127.0.0.1:{server.server_port}"
    config = {
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [context],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    yield submitted, tmp_path / "kubeconfig"
    server.shutdown()
    server.server_close()


def test_a_notebook_becomes_a_job_with_the_volume_and_the_resources_of_its_rule(api, tmp_path):
    for needed in ("snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_fs"):
        pytest.importorskip(needed, reason="needs the extra `cluster`: pip install '.[cluster]'")
    if not shutil.which("rsync"):
        pytest.skip("needs rsync, by which the workflow's sources are copied")
    submitted, kubeconfig = api
    project = project_copy(tmp_path)
    env = {
        "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "VIRTUAL_ENV": sys.prefix,
        "KUBECONFIG": str(kubeconfig),
        "R2D_HOME": str(tmp_path / "home"),
    }
    command = ["./run_all.sh", "smoke", "--no-install", "--on", "kubernetes", "--only", "E8"]
    command += ["--", "--jobs", "1", "--until", "stage1"]
    command += ["--default-storage-prefix", str(tmp_path / "sources")]
    process = subprocess.Popen(command, cwd=project, env=env, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    pods = []
    while not pods:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.2)
        pods = [body["spec"]["template"]["spec"] for body in submitted if "spec" in body]
    for _ in range(2):  # the second one does not wait for a cluster that has forgotten the job
        process.send_signal(signal.SIGINT)
        time.sleep(1)
    process.wait(20)
    (container,) = pods[0]["containers"]
    profile = yaml.safe_load((paths.NOTEBOOKS / "workflow/kubernetes/config.yaml").read_text())
    assert container["image"] == profile["container-image"]
    assert {"mountPath": "/r2d", "name": "r2d"} in container["volumeMounts"]
    assert pods[0]["volumes"][-1]["persistentVolumeClaim"] == {"claimName": "r2d"}
    requests = container["resources"]["requests"]
    wanted = (requests["memory"], requests["nvidia.com/gpu"], requests["cpu"])
    assert wanted == ("32000M", "1", "3800m")
    command = container["args"][1]
    assert f"--directory {project}" in command and "stage1:dataset=triage" in command
    assert not list(tmp_path.glob("home/runs/smoke/triage"))  # nothing was run here instead
