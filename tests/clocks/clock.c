/* Goes in front of libfaketime in LD_PRELOAD, for two things that it does not do.
 *
 * Processes that patchlight starts get an environment of a few names, and FAKETIME_... is not among
 * them. What libfaketime would read there is answered here, so that each process that has the
 * libraries has the clock.
 *
 * clock_nanosleep: libfaketime 0.9.10 takes an absolute time of CLOCK_MONOTONIC for one of its own
 * clock also where that clock is left alone, and hands the kernel a negative time. Python sleeps by
 * it since 3.11, and every time.sleep would fail with EINVAL.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

char *getenv(const char *name)
{
    size_t length = strlen(name);
    if (strcmp(name, "FAKETIME_TIMESTAMP_FILE") == 0)
        return CLOCK_FILE;
    if (strcmp(name, "FAKETIME_DONT_FAKE_MONOTONIC") == 0)
        return "1";
    if (strcmp(name, "FAKETIME_CACHE_DURATION") == 0) /* seconds; to read the file for each call is slow */
        return "1";
    for (char **entry = environ; entry && *entry; entry++)
        if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
            return *entry + length + 1;
    return NULL;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left)
{
    if (clock == CLOCK_REALTIME) {
        int (*next)(clockid_t, int, const struct timespec *, struct timespec *);
        *(void **)&next = dlsym(RTLD_NEXT, "clock_nanosleep");
        return next(clock, flags, until, left);
    }
    return syscall(SYS_clock_nanosleep, clock, flags, until, left) ? errno : 0;
}
