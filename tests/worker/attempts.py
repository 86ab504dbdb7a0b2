"""What a job's process tries that means harm; see cell.py. Run there, never imported."""
# ruff: noqa: ANN001, ANN201, F821, PTH208, PTH211, S108, S606 - it is data; its names are those that cell.py gives it

import ctypes
import mmap
import os
import resource
import signal
import socket
import subprocess
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)
HUGE = 100 * 2**30


def called(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def try_to_open_a_socket():
    socket.socket()


def try_to_use_a_socket_of_the_workers():
    listener.accept()


def try_to_reach_a_server_of_this_host():
    socket.create_connection(("127.0.0.1", port), 2)


def try_to_reach_a_unix_socket():
    socket.socket(socket.AF_UNIX)


def try_to_read_the_workers_secrets():
    Path(secret).read_text()


def try_to_read_the_workers_environment():
    Path(f"/proc/{os.getppid()}/environ").read_bytes()


def try_to_read_the_workers_memory():
    Path(f"/proc/{os.getppid()}/mem").open("rb").close()


def try_to_read_the_accounts():
    Path("/etc/passwd").read_text()


def try_to_link_to_a_secret():
    os.link(secret, scratch / "mine")


def try_to_point_at_a_secret():
    os.symlink(secret, scratch / "mine")


def try_to_look_around():
    os.listdir("/")


def try_to_write_beside_its_scratch():
    (outside / "mine").touch()


def try_to_write_to_the_temporary_directory():
    Path("/tmp/octet-mine").touch()


def try_to_write_to_shared_memory():
    Path("/dev/shm/octet-mine").touch()


def try_to_remove_its_scratch():
    scratch.rmdir()


def try_to_make_a_pipe_for_others():
    os.mkfifo(scratch / "pipe")


def try_to_fork():
    if os.fork() == 0:
        os._exit(0)


def try_to_fork_by_the_c_library():
    if called(libc.vfork()) == 0:
        os._exit(0)


def try_to_start_a_program():
    subprocess.run(["/usr/bin/true"], check=True)


def try_to_become_a_program():
    os.execv("/usr/bin/true", ["true"])


def try_to_trace_its_parent():
    called(libc.ptrace(16, os.getppid(), 0, 0))  # PTRACE_ATTACH


def try_to_be_traced():
    called(libc.ptrace(0, 0, 0, 0))  # PTRACE_TRACEME


def try_to_read_its_parents_memory():
    called(libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0))


def try_to_kill_its_parent():
    os.kill(os.getppid(), signal.SIGKILL)


def try_to_kill_its_group():
    os.kill(0, signal.SIGCONT)


def try_to_kill_everyone():
    os.kill(-1, signal.SIGCONT)


def try_to_kill_by_descriptor():
    os.pidfd_open(os.getppid())


def try_to_limit_its_parent():
    resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))


def try_to_leave_its_session():
    os.setsid()


def try_to_leave_its_group():
    os.setpgid(0, 0)


def try_to_outlive_its_parent():
    called(libc.prctl(1, 0, 0, 0, 0))  # PR_SET_PDEATHSIG


def try_to_allocate():
    mmap.mmap(-1, HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def try_to_allocate_shared():
    mmap.mmap(-1, HUGE)


def try_to_allocate_a_file_of_memory():
    os.memfd_create("mine")


def try_to_allocate_by_system_v():
    called(libc.shmget(0, HUGE, 0o1600))


def try_to_allocate_bytes():
    bytearray(HUGE)


def try_to_allocate_a_file():
    with (scratch / "large").open("wb") as file:
        os.truncate(file.fileno(), HUGE)


def try_to_open_files_without_end():
    for _ in range(10_000):
        os.dup(0)


def try_to_raise_its_limits():
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as error:
        raise OSError(str(error)) from error


def try_to_become_root():
    os.setresuid(0, 0, 0)


def try_to_make_namespaces():
    called(libc.unshare(0x10000000))  # CLONE_NEWUSER


def try_to_mount():
    called(libc.mount(b"none", bytes(scratch), b"tmpfs", 0, None))


def try_to_leave_by_another_root():
    os.chroot(scratch)


def try_to_queue_calls_of_the_system():
    called(libc.syscall(425, 8, bytes(256)))  # io_uring_setup


def try_to_pass_for_the_other_kind_of_call():
    called(libc.syscall(0x40000000 | 41, 2, 1, 0))  # socket, as x32 numbers it


def try_to_stand_before_others():
    os.nice(-5)
