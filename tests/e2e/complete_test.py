"""One option table, four forms: help, man page, bash and zsh completion know every verb and option, and bash completes."""
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
NARU = str(ROOT / os.environ.get("NARU_BIN", "build/naru"))


def naru(*args, status=0):
    p = subprocess.run([NARU, *args], capture_output=True, text=True, timeout=60)
    assert p.returncode == status, (args, p.returncode, p.stderr)
    return p.stdout if status == 0 else p.stderr


VERBS = [v for v in re.findall(r"^  (\w+) ", naru("help"), re.M) if v not in ("completion", "help", "version")]


def options(verb):
    """[(name, help)] as `naru help VERB` tells."""
    rows, name = [], None
    for line in naru("help", verb).splitlines():
        m = re.match(r"  (?:-\w, |    )--([\w-]+)(?: \S+)?(?:\s{1,}(.*))?$", line)
        if m:
            name = m[1]
            rows.append([name, m[2] or ""])
        elif name and line.startswith(" " * 30):
            rows[-1][1] += " " + line.strip()
        else:
            name = None
    return rows


def complete(*words):
    """What bash offers for the last word, given the script in a fresh shell."""
    script = naru("completion", "bash") + "COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _naru; printf '%s\\n' \"${COMPREPLY[@]}\""
    p = subprocess.run(["bash", "--norc", "-c", script, "bash", *words], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert p.returncode == 0 and not p.stderr, p.stderr
    return p.stdout.split()


def test_help():
    """every option of every verb has a sentence of help"""
    assert len(VERBS) >= 7
    for verb in VERBS:
        rows = options(verb)
        assert {"help", "json"} <= {r[0] for r in rows}, (verb, rows)
        for name, text in rows:
            assert len(text.strip()) > 8, (verb, name, text)


def test_everywhere():
    """man page and both completions list every option, under its verb"""
    bash, zsh, man = naru("completion", "bash"), naru("completion", "zsh"), naru("help", "--man")
    for verb in VERBS:
        in_bash = re.search(rf"^    {verb}\)\n        options='([^']*)'", bash, re.M)[1].split()
        in_zsh = zsh.split(f"\n    {verb})\n")[1].split(" ;;\n")[0]
        in_man = man.split(f"\n.SS {verb}\n")[1].split("\n.SS ")[0] + man.split(".SH OPTIONS OF EVERY VERB")[1]
        for name, _ in options(verb):
            assert f"--{name}" in in_bash, (verb, name)
            assert re.search(rf"--{name}[=\[}}]", in_zsh), (verb, name)
            assert "\\-\\-" + name.replace("-", "\\-") in in_man, (verb, name)
    conf = naru("help", "--man-conf")
    for name, _ in options("serve"):
        here = ".TP\n\\fB" + name.replace("-", "\\-") + "\\fR = " in conf
        assert here == (name not in ("config", "check-config", "help")), name
    for shell, text in (("bash", bash), ("zsh", zsh)):
        if shutil.which(shell):
            p = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True)
            assert p.returncode == 0 and not p.stderr, (shell, p.stderr)


def test_bash():
    """bash completes verbs, options, values and files"""
    assert complete("naru", "ser") == ["serve"]
    assert set(VERBS) <= set(complete("naru", ""))
    assert complete("naru", "serve", "--por") == ["--port", "--port-file"]
    assert "avx2" in complete("naru", "run", "--cpu", "")
    assert complete("naru", "run", "--cpu", "=", "gen") == ["generic"]
    assert complete("naru", "run", "--log", "q") == ["quiet"]
    assert complete("naru", "run", "-m", "models/naru-chat.g") == ["models/naru-chat.gguf"]
    assert complete("naru", "inspect", "models/naru-chat.g") == ["models/naru-chat.gguf"]
    assert complete("naru", "help", "serv") == ["serve"]
    assert complete("naru", "serve", "--port", "") == []


def test_refuses():
    """an unknown shell is a usage error that names the known ones"""
    for args in (("completion",), ("completion", "fish")):
        assert "bash" in naru(*args, status=2) and "zsh" in naru(*args, status=2)


failed = 0
for number, test in enumerate([test_help, test_everywhere, test_bash, test_refuses], 1):
    try:
        test()
        print(f"ok {number} - {test.__doc__}")
    except Exception as e:      # noqa: BLE001  every failure is reported
        failed = 1
        print(f"not ok {number} - {test.__doc__}: {type(e).__name__}: {str(e)[:800]}")
sys.exit(failed)
