/* The loops that ./dev bench times. In C and compiled with -O2, so that next to nothing but the system call is timed.
 *
 *   workload getpid COUNT | open COUNT PATH | spawn COUNT PROGRAM
 *   workload open-for SECONDS PATH | spawn-for SECONDS PROGRAM
 *
 * Prints: operations, wall time (ns), CPU time of this process and of its children (ns).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static long long children(void)
{
	struct rusage usage;

	getrusage(RUSAGE_CHILDREN, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000LL +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000LL;
}

static void open_close(const char *path)
{
	int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);

	if (fd >= 0)
		syscall(SYS_close, fd);
	else if (errno != ENOENT)
		exit(3);
}

static void spawn(const char *program)
{
	char *const arguments[] = { (char *)program, NULL };
	char *const environment[] = { NULL };
	int status;
	/* As posix_spawn does: no copy of our memory, so that the exec is what is timed. */
	pid_t child = vfork();

	if (child == 0) {
		execve(program, arguments, environment);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		exit(4);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	const char *what = argv[1], *path = argc > 3 ? argv[3] : "";
	long long count = atoll(argv[2]), done = 0;
	int timed = strstr(what, "-for") != NULL;
	int is_open = !strncmp(what, "open", 4), is_spawn = !strncmp(what, "spawn", 5);
	long long wall = now(CLOCK_MONOTONIC), own = now(CLOCK_THREAD_CPUTIME_ID), others = children();
	long long end = wall + count * 1000000000LL;

	for (;;) {
		if (timed ? (done % 16 == 0 && now(CLOCK_MONOTONIC) > end) : done >= count)
			break;
		if (is_open)
			open_close(path);
		else if (is_spawn)
			spawn(path);
		else
			syscall(SYS_getpid);
		done++;
	}
	own = now(CLOCK_THREAD_CPUTIME_ID) - own;
	wall = now(CLOCK_MONOTONIC) - wall;
	printf("%lld %lld %lld\n", done, wall, own + children() - others);
	return 0;
}
