"""What a job's process tries that means harm; see cell.py. Run there, never imported."""
# ruff: noqa: ANN001, ANN002, ANN201, F821, PTH101, PTH208, PTH211, S103, S108, S606 - it is data; its names are those that cell.py gives it

import ctypes
import fcntl
import mmap
import os
import platform
import resource
import signal
import socket
import subprocess
from pathlib import Path

from worker.sandbox.syscalls import numbers

libc = ctypes.CDLL(None, use_errno=True)
HUGE = 100 * 2**30


def called(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def system_call(name, *arguments):
    number = numbers(platform.machine()).get(name)
    if number is None:
        raise OSError(f"this machine has no {name}")
    return called(libc.syscall(number, *arguments))


def one_of_a_pair(kind=socket.SOCK_STREAM):
    return socket.socketpair(socket.AF_UNIX, kind)[0]


def changed(path, what):
    """Raise unless a change came about."""
    before = path.stat()
    what()
    after = path.stat()
    if (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns):
        raise OSError("nothing happened")


def try_to_open_a_socket():
    socket.socket()


def try_to_use_a_socket_of_the_workers():
    listener.accept()


def try_to_reach_a_server_of_this_host():
    socket.create_connection(("127.0.0.1", port), 2)


def try_to_reach_a_unix_socket():
    socket.socket(socket.AF_UNIX)


def try_to_send_to_a_unix_socket():
    one_of_a_pair(socket.SOCK_DGRAM).sendto(b"x", socket_path)


def try_to_send_to_an_abstract_socket():
    one_of_a_pair(socket.SOCK_DGRAM).sendto(b"x", abstract_socket)


def try_to_have_another_signalled():
    fcntl.fcntl(one_of_a_pair(), fcntl.F_SETOWN, os.getppid())


def try_to_have_another_signalled_by_another_call():
    fcntl.ioctl(one_of_a_pair(), 0x8901, os.getppid().to_bytes(4, "little"))  # FIOSETOWN


def try_to_choose_the_signal():
    fcntl.fcntl(one_of_a_pair(), fcntl.F_SETSIG, signal.SIGKILL)


def try_to_hold_up_who_writes():
    with Path(os.__file__).open("rb") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)


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


def try_to_open_a_secret_to_everyone():
    changed(Path(secret), lambda: os.chmod(secret, 0o666))


def try_to_make_a_secret_old():
    changed(Path(secret), lambda: os.utime(secret, (0, 0)))


def try_to_mark_a_secret():
    os.setxattr(secret, "user.mine", b"x")


def try_to_give_a_secret_away():
    os.chown(secret, -1, os.getegid())


def try_to_cut_a_secret_short():
    os.truncate(secret, 0)


def try_to_cut_short_what_it_may_read():
    os.close(os.open(readable, os.O_RDONLY | os.O_TRUNC))


def try_to_cut_short_what_it_may_read_by_the_newest_call():
    how = (os.O_TRUNC).to_bytes(8, "little") + bytes(16)  # struct open_how
    system_call("openat2", -100, os.fsencode(readable), how, len(how))


def try_to_leave_a_program_that_is_run_as_its_owner():
    path = scratch / "program"
    path.touch()
    changed(path, lambda: path.chmod(0o4755))


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


def try_to_have_a_thread_with_files_of_its_own():
    stack = ctypes.create_string_buffer(2**16)
    top = ctypes.c_void_p((ctypes.addressof(stack) + len(stack)) & ~15)
    flags = 0x10000 | 0x800 | 0x100  # CLONE_THREAD, CLONE_SIGHAND, CLONE_VM, and not CLONE_FILES
    called(libc.clone(libc.pause, top, flags, None))


def try_to_have_files_of_its_own():
    system_call("close_range", 1000, 1000, 2)  # CLOSE_RANGE_UNSHARE


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


def try_to_take_memory_of_the_workers_by_system_v():
    libc.shmat.restype = ctypes.c_ssize_t
    called(libc.shmat(segment, None, 0))


def try_to_remove_memory_of_the_workers_by_system_v():
    called(libc.shmctl(segment, 0, None))  # IPC_RMID


def try_to_allocate_a_stack():
    mmap.mmap(-1, HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x100)  # MAP_GROWSDOWN


def try_to_allocate_huge_pages():
    mmap.mmap(-1, 2**21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)  # MAP_HUGETLB


def try_to_allocate_bytes():
    bytearray(HUGE)


def try_to_allocate_a_file():
    with (scratch / "large").open("wb") as file:
        os.truncate(file.fileno(), HUGE)


def try_to_open_files_without_end():
    for _ in range(10_000):
        os.dup(0)


def try_to_watch_files():
    called(libc.inotify_init())


def try_to_take_what_there_is_of_asynchronous_io():
    system_call("io_setup", 1, bytes(8))


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
