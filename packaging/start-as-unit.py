"""Starts the ExecStart of naru.service in a chroot with the restrictions of the unit that need no systemd, waits for
READY=1, chats over loopback, ends it with SIGTERM. usage: start-as-unit.py ROOT (root). See test-deb.sh."""
import ctypes
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

root = sys.argv[1]
UID, STATE = 61234, "/var/lib/naru"
unit = open(f"{root}/lib/systemd/system/naru.service").read()
command = re.search(r"^ExecStart=(.*)$", unit, re.M)[1].split()
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_SET_MDWE = 38, 24, 65


def sh(*args):
    subprocess.run(args, check=True)


if libc.unshare(CLONE_NEWNS | CLONE_NEWNET):
    sys.exit("unshare: " + os.strerror(ctypes.get_errno()))
sh("ip", "link", "set", "lo", "up")
sh("mount", "--make-rprivate", "/")
os.makedirs(root + STATE, exist_ok=True)
os.chown(root + STATE, UID, UID)
sh("mount", "--bind", root, root)
sh("mount", "--bind", root + STATE, root + STATE)          # stays writable
sh("mount", "-o", "remount,bind,ro", root)                 # ProtectSystem=strict
sh("mount", "-t", "tmpfs", "tmpfs", root + "/tmp")         # PrivateTmp
sh("mount", "-t", "tmpfs", "tmpfs", root + "/run")
os.chmod(root + "/tmp", 0o1777)
sh("mount", "-t", "proc", "-o", "hidepid=invisible,subset=pid", "proc", root + "/proc")
sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", root + "/dev")        # PrivateDevices
for name, number in (("null", 3), ("zero", 5), ("urandom", 9), ("random", 8)):
    os.mknod(f"{root}/dev/{name}", 0o20666, os.makedev(1, number))
    os.chmod(f"{root}/dev/{name}", 0o666)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(root + "/run/notify")
os.chmod(root + "/run/notify", 0o666)
notify.settimeout(60)
mdwe = []


def become():
    os.chroot(root)
    os.chdir(STATE)
    os.umask(0o077)
    for cap in range(64):
        libc.prctl(PR_CAPBSET_DROP, cap, 0, 0, 0)
    os.setgroups([])
    os.setgid(UID)
    os.setuid(UID)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_MDWE, 1, 0, 0, 0)                    # needs Linux 6.3; the line below tells


probe = subprocess.run([sys.executable, "-c", "import ctypes; print(ctypes.CDLL(None).prctl(65, 1, 0, 0, 0))"], capture_output=True, text=True)
print("  memory never writable and executable:", "enforced" if probe.stdout.strip() == "0" else "not possible on this kernel")
p = subprocess.Popen(command, preexec_fn=become, env={"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": "/run/notify", "STATE_DIRECTORY": STATE})
try:
    while b"READY=1" not in notify.recv(4096):
        pass
    print("  READY=1 came")
    c = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
    c.request("POST", "/v1/chat/completions", json.dumps({"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 20, "temperature": 0}),
              {"content-type": "application/json"})
    answer = json.load(c.getresponse())
    print("  it says:", answer["choices"][0]["message"]["content"].strip())
    c.request("GET", "/")
    page = c.getresponse()
    assert page.status == 200 and b"<title>Naru</title>" in page.read()
    p.send_signal(signal.SIGTERM)
    status = p.wait(60)
    print("  SIGTERM: exit status", status)
    assert status == 0
finally:
    if p.poll() is None:
        p.kill()
