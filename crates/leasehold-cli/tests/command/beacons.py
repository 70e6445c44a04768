"""A command that is hard to be rid of: processes in its group, in a session of their own, daemonised, and one whose first thread has
ended, each of which writes the boot clock's milliseconds into its file every 10 ms. The arguments: a folder, and whether TERM is ignored (`ignore`) or obeyed (`obey`)."""
import ctypes
import os
import signal
import sys
import threading
import time

folder, manner = sys.argv[1], sys.argv[2]


def beacon(kind):
    if manner == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if kind == "leaderless":
        threading.Thread(target=write, args=(kind,)).start()
        ctypes.CDLL(None).pthread_exit(None)
    write(kind)


def write(kind):
    file = os.open(f"{folder}/{kind}", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    with open(f"{folder}/{kind}.pid.new", "w") as pid:
        pid.write(f"{os.getpid()}\n")
    os.rename(f"{folder}/{kind}.pid.new", f"{folder}/{kind}.pid")
    while True:
        os.write(file, b"%d\n" % (time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000000))
        time.sleep(0.01)


def own_group():
    os.setpgid(0, 0)


def own_session():
    os.setsid()


def daemon():
    os.setsid()
    if os.fork():
        os._exit(0)


def leaderless():
    pass


for leave in (None, own_group, own_session, daemon, leaderless):
    if os.fork() == 0:
        if leave:
            leave()
        beacon(leave.__name__ if leave else "child")
beacon("command")
