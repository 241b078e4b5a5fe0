#include "os/process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* "size resident ..." in pages. */
static void read_memory(struct os_process *out)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long size = 0, resident = 0;
    if (f == NULL)
        return;
    if (fscanf(f, "%llu %llu", &size, &resident) == 2) {
        out->virtual_bytes = size * (uint64_t)sysconf(_SC_PAGESIZE);
        out->resident_bytes = resident * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    fclose(f);
}

static uint32_t count_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    uint32_t n = 0;
    if (d == NULL)
        return 0;
    for (const struct dirent *entry = readdir(d); entry != NULL; entry = readdir(d))
        n += entry->d_name[0] != '.';
    closedir(d);
    return n > 0 ? n - 1 : 0; /* without the one that is being read */
}

static double seconds(struct timespec t) { return (double)t.tv_sec + (double)t.tv_nsec * 1e-9; }

/* Field 22 of stat is the start in clock ticks since boot; the name in field 2 may hold anything
 * but ends at the last parenthesis. */
static double read_start(void)
{
    char text[1024];
    FILE *f = fopen("/proc/self/stat", "re");
    if (f == NULL)
        return 0;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (at == NULL)
        return 0;
    double since_boot = strtod(at, NULL) / (double)sysconf(_SC_CLK_TCK);
    struct timespec wall, boot;
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    return seconds(wall) - seconds(boot) + since_boot;
}

void os_process_read(struct os_process *out)
{
    struct timespec cpu;
    struct rlimit files;
    memset(out, 0, sizeof *out);
    read_memory(out);
    out->open_files = count_files();
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        out->files_max = files.rlim_cur > UINT32_MAX ? UINT32_MAX : (uint32_t)files.rlim_cur;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
        out->cpu_s = seconds(cpu);
    out->started_unix_s = read_start();
}
