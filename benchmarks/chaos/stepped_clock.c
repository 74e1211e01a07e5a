/*
 * Preloaded into the processes of a stack: the wall clock is off by what a file says, in nanoseconds.
 *
 * The monotonic clock stays true, as it does when a machine's clock is set. (libfaketime 0.9.10 makes
 * absolute waits on the monotonic clock fail with EINVAL after a step, so that Python's time.sleep
 * raises OSError.)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *offset_nanoseconds;

/* The vendors are not on this machine: the process that plays them keeps the true time. */
static int is_vendor(void) {
    static const char words[] = "-m\0simulator";
    char line[4096];
    int descriptor = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t length = descriptor < 0 ? 0 : read(descriptor, line, sizeof line);
    if (descriptor >= 0) close(descriptor);
    return length > 0 && memmem(line, (size_t)length, words, sizeof words) != NULL;
}

__attribute__((constructor)) static void open_offset(void) {
    if (is_vendor()) return;
    const char *path = getenv("TWEZAH_CHAOS_CLOCK");
    int descriptor = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, descriptor, 0);
    if (page != MAP_FAILED) offset_nanoseconds = page;
    close(descriptor);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    int is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    if (result == 0 && is_wall && offset_nanoseconds != NULL) {
        int64_t total = now->tv_nsec + *offset_nanoseconds % 1000000000;
        now->tv_sec += *offset_nanoseconds / 1000000000;
        if (total < 0) { total += 1000000000; now->tv_sec -= 1; }
        if (total >= 1000000000) { total -= 1000000000; now->tv_sec += 1; }
        now->tv_nsec = total;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec exact;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return result;
}

time_t time(time_t *seconds) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (seconds != NULL) *seconds = exact.tv_sec;
    return exact.tv_sec;
}
