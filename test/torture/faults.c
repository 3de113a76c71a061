/* SPDX-License-Identifier: Apache-2.0 */
/* faults.c: a library for LD_PRELOAD that makes calls of the program under test fail. Only calls
 * whose return address lies in the program itself, or in a library that FAULTS_IN names, are
 * touched: those of librdkafka, which aborts when malloc fails, go through. Works under ASan, too
 * (LD_PRELOAD=libfaults.so:libasan.so): the real function is the next one in order.
 *     FAULTS_IN      beginnings of libraries' file names: libsqlite3,libcurl
 *     FAULTS         malloc,read,write,sync,rename,open,truncate,stat,folder: any of them
 *     FAULTS_AT      the nth of these calls fails, and no other
 *     FAULTS_CHANCE  or each with this chance in a million, by FAULTS_SEED
 *     FAULTS_ERROR   EIO ENOSPC EINTR EMFILE ENOMEM short; else one that suits the call
 *     FAULTS_LOG     a file: a line for each fault, the number of calls at the end
 *     FAULTS_CLOCK   a file with the seconds that the wall clock is wrong by; read at every look
 * Reads and writes of other things than regular files are left alone. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SHORT (-1) /* no error: half of what was asked for */
#define OBJECTS_MAX 8

enum kind {
    KIND_MALLOC,
    KIND_READ,
    KIND_WRITE,
    KIND_SYNC,
    KIND_RENAME,
    KIND_OPEN,
    KIND_TRUNCATE,
    KIND_STAT,
    KIND_FOLDER,
    KINDS,
};

static const struct {
    const char *name;
    int errors[4]; /* 0: no more */
} kinds[KINDS] = {
    {"malloc", {ENOMEM}},
    {"read", {EIO, EINTR, SHORT}},
    {"write", {ENOSPC, EIO, EINTR, SHORT}},
    {"sync", {EIO, ENOSPC}},
    {"rename", {EIO, ENOSPC}},
    {"open", {EMFILE, EIO, ENOSPC, EACCES}},
    {"truncate", {EIO, ENOSPC}},
    {"stat", {EIO, ENOMEM, EACCES}},
    {"folder", {EMFILE, EIO, EACCES}},
};

static struct {
    bool wanted[KINDS];
    unsigned long at, chance;
    uint64_t seed;
    int error; /* 0: one that suits */
    int log, clock;
    struct {
        uintptr_t from, to;
    } texts[OBJECTS_MAX]; /* the program's, then the libraries' */
    size_t text_count;
} faults = {.log = -1, .clock = -1};
static atomic_ulong calls;

/* The first object is the program; of the others those whose names begin with one of `names`. */
static bool
is_wanted(const char *path, const char *names)
{
    if (faults.text_count == 0)
        return true;
    const char *file = strrchr(path, '/') == NULL ? path : strrchr(path, '/') + 1;
    while (names != NULL && *names != '\0') {
        size_t size = strcspn(names, ",");
        if (size > 0 && strncmp(file, names, size) == 0)
            return true;
        names += size + (names[size] == ',' ? 1 : 0);
    }
    return false;
}

static int
find_text(struct dl_phdr_info *info, size_t size, void *names)
{
    (void)size;
    if (faults.text_count == OBJECTS_MAX || !is_wanted(info->dlpi_name, names))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X) != 0) {
            faults.texts[faults.text_count].from = info->dlpi_addr + part->p_vaddr;
            faults.texts[faults.text_count].to = info->dlpi_addr + part->p_vaddr + part->p_memsz;
        }
    }
    faults.text_count++;
    return 0;
}

static unsigned long
number_of(const char *name)
{
    const char *text = getenv(name);
    return text == NULL ? 0 : strtoul(text, NULL, 10);
}

static int
error_of(const char *text)
{
    static const struct {
        const char *name;
        int error;
    } known[] = {{"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EINTR", EINTR},
                 {"EMFILE", EMFILE}, {"ENOMEM", ENOMEM}, {"short", SHORT}};
    for (size_t i = 0; text != NULL && i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(known[i].name, text) == 0)
            return known[i].error;
    return 0;
}

__attribute__((constructor)) static void
begin(void)
{
    const char *wanted = getenv("FAULTS");
    const char *log = getenv("FAULTS_LOG");
    (void)dl_iterate_phdr(find_text, getenv("FAULTS_IN"));
    faults.at = number_of("FAULTS_AT");
    faults.chance = number_of("FAULTS_CHANCE");
    faults.seed = number_of("FAULTS_SEED");
    faults.error = error_of(getenv("FAULTS_ERROR"));
    if (log != NULL)
        faults.log = (int)syscall(SYS_openat, AT_FDCWD, log,
                                  O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    const char *clock = getenv("FAULTS_CLOCK");
    if (clock != NULL)
        faults.clock = (int)syscall(SYS_openat, AT_FDCWD, clock, O_RDONLY | O_CLOEXEC);
    for (int i = 0; wanted != NULL && i < KINDS; i++)
        faults.wanted[i] = strstr(wanted, kinds[i].name) != NULL;
}

static void
note(const char *what, unsigned long number, int error, size_t object, uintptr_t where)
{
    char line[160];
    int size = snprintf(line, sizeof(line), "%s %lu error %d at %lx of object %zu\n", what, number,
                        error, (unsigned long)where, object);
    if (faults.log >= 0 && size > 0)
        (void)!syscall(SYS_write, faults.log, line, (size_t)size);
}

__attribute__((destructor)) static void
end(void)
{
    note("calls", atomic_load(&calls), 0, 0, 0);
}

static uint64_t
mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* 0: the call goes through; else the error, or SHORT. */
static int
fault(enum kind kind, const void *caller)
{
    uintptr_t address = (uintptr_t)caller;
    size_t text = 0;
    while (text < faults.text_count &&
           (address < faults.texts[text].from || address >= faults.texts[text].to))
        text++;
    if (!faults.wanted[kind] || text == faults.text_count)
        return 0;
    unsigned long number = atomic_fetch_add(&calls, 1) + 1;
    uint64_t dice = mix(faults.seed * 1000003 + number);
    if (number != faults.at && !(faults.at == 0 && dice % 1000000 < faults.chance))
        return 0;
    int suiting = 0;
    while (suiting < 4 && kinds[kind].errors[suiting] != 0)
        suiting++;
    int error = faults.error != 0
                    ? faults.error
                    : kinds[kind].errors[(dice >> 32) % (unsigned)(suiting == 0 ? 1 : suiting)];
    if (error == SHORT && kind != KIND_READ && kind != KIND_WRITE)
        error = EIO;
    note(kinds[kind].name, number, error, text, address - faults.texts[text].from);
    return error;
}

static bool
is_regular(int fd)
{
    struct stat about;
    return fd > STDERR_FILENO && syscall(SYS_fstat, fd, &about) == 0 && S_ISREG(about.st_mode);
}

/* For what returns -1 and sets errno. */
static bool
fails(enum kind kind, const void *caller)
{
    int error = fault(kind, caller);
    if (error == 0)
        return false;
    errno = error;
    return true;
}

/* False with errno; `size` is halved for a short one. */
static bool
may_transfer(enum kind kind, int fd, size_t *size, const void *caller)
{
    int error = is_regular(fd) ? fault(kind, caller) : 0;
    if (error == SHORT && *size > 1)
        *size /= 2;
    if (error == 0 || error == SHORT)
        return true;
    errno = error;
    return false;
}

#define CALLER __builtin_return_address(0)
/* ISO C has no cast from void * to a function: through memory. */
#define NEXT(name)                                                                                 \
    static __typeof__(&(name)) next;                                                               \
    if (next == NULL) {                                                                            \
        void *found = dlsym(RTLD_NEXT, #name);                                                     \
        memcpy(&next, &found, sizeof(next));                                                       \
    }

void *
malloc(size_t size)
{
    NEXT(malloc)
    return fails(KIND_MALLOC, CALLER) ? NULL : next(size);
}

void *
aligned_alloc(size_t alignment, size_t size)
{
    NEXT(aligned_alloc)
    return fails(KIND_MALLOC, CALLER) ? NULL : next(alignment, size);
}

void *
calloc(size_t count, size_t size)
{
    NEXT(calloc)
    return fails(KIND_MALLOC, CALLER) ? NULL : next(count, size);
}

void *
realloc(void *old, size_t size)
{
    NEXT(realloc)
    return fails(KIND_MALLOC, CALLER) ? NULL : next(old, size);
}

char *
strdup(const char *text)
{
    NEXT(strdup)
    return fails(KIND_MALLOC, CALLER) ? NULL : next(text);
}

ssize_t
read(int fd, void *out, size_t size)
{
    NEXT(read)
    return may_transfer(KIND_READ, fd, &size, CALLER) ? next(fd, out, size) : -1;
}

ssize_t
pread(int fd, void *out, size_t size, off_t offset)
{
    NEXT(pread)
    return may_transfer(KIND_READ, fd, &size, CALLER) ? next(fd, out, size, offset) : -1;
}

ssize_t
write(int fd, const void *bytes, size_t size)
{
    NEXT(write)
    return may_transfer(KIND_WRITE, fd, &size, CALLER) ? next(fd, bytes, size) : -1;
}

ssize_t
pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    NEXT(pwrite)
    return may_transfer(KIND_WRITE, fd, &size, CALLER) ? next(fd, bytes, size, offset) : -1;
}

/* The names that libraries built for large files call. */
ssize_t
pread64(int fd, void *out, size_t size, off64_t offset)
{
    NEXT(pread64)
    return may_transfer(KIND_READ, fd, &size, CALLER) ? next(fd, out, size, offset) : -1;
}

ssize_t
pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
    NEXT(pwrite64)
    return may_transfer(KIND_WRITE, fd, &size, CALLER) ? next(fd, bytes, size, offset) : -1;
}

int
ftruncate64(int fd, off64_t size)
{
    NEXT(ftruncate64)
    return fails(KIND_TRUNCATE, CALLER) ? -1 : next(fd, size);
}

int
stat64(const char *path, struct stat64 *out)
{
    NEXT(stat64)
    return fails(KIND_STAT, CALLER) ? -1 : next(path, out);
}

int
fstat64(int fd, struct stat64 *out)
{
    NEXT(fstat64)
    return fails(KIND_STAT, CALLER) ? -1 : next(fd, out);
}

int
open64(const char *path, int flags, ...)
{
    NEXT(open64)
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return fails(KIND_OPEN, CALLER) ? -1 : next(path, flags, mode);
}

int
fsync(int fd)
{
    NEXT(fsync)
    return fails(KIND_SYNC, CALLER) ? -1 : next(fd);
}

int
fdatasync(int fd)
{
    NEXT(fdatasync)
    return fails(KIND_SYNC, CALLER) ? -1 : next(fd);
}

int
rename(const char *from, const char *to)
{
    NEXT(rename)
    return fails(KIND_RENAME, CALLER) ? -1 : next(from, to);
}

int
renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    NEXT(renameat)
    return fails(KIND_RENAME, CALLER) ? -1 : next(from_fd, from, to_fd, to);
}

int
renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    NEXT(renameat2)
    return fails(KIND_RENAME, CALLER) ? -1 : next(from_fd, from, to_fd, to, flags);
}

int
open(const char *path, int flags, ...)
{
    NEXT(open)
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return fails(KIND_OPEN, CALLER) ? -1 : next(path, flags, mode);
}

int
openat(int folder, const char *path, int flags, ...)
{
    NEXT(openat)
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return fails(KIND_OPEN, CALLER) ? -1 : next(folder, path, flags, mode);
}

int
ftruncate(int fd, off_t size)
{
    NEXT(ftruncate)
    return fails(KIND_TRUNCATE, CALLER) ? -1 : next(fd, size);
}

int
posix_fallocate(int fd, off_t offset, off_t size)
{
    NEXT(posix_fallocate)
    return fault(KIND_TRUNCATE, CALLER) != 0 ? ENOSPC : next(fd, offset, size);
}

int
stat(const char *path, struct stat *out)
{
    NEXT(stat)
    return fails(KIND_STAT, CALLER) ? -1 : next(path, out);
}

int
lstat(const char *path, struct stat *out)
{
    NEXT(lstat)
    return fails(KIND_STAT, CALLER) ? -1 : next(path, out);
}

int
fstat(int fd, struct stat *out)
{
    NEXT(fstat)
    return fails(KIND_STAT, CALLER) ? -1 : next(fd, out);
}

int
fstatat(int folder, const char *path, struct stat *out, int flags)
{
    NEXT(fstatat)
    return fails(KIND_STAT, CALLER) ? -1 : next(folder, path, out, flags);
}

static long
clock_error(void)
{
    char text[32] = "";
    if (faults.clock >= 0)
        (void)!syscall(SYS_pread64, faults.clock, text, sizeof(text) - 1, 0);
    return strtol(text, NULL, 10);
}

int
clock_gettime(clockid_t clock, struct timespec *out)
{
    NEXT(clock_gettime)
    int result = next(clock, out);
    if (result == 0 && clock == CLOCK_REALTIME)
        out->tv_sec += clock_error();
    return result;
}

time_t
time(time_t *out)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL)
        *out = now.tv_sec;
    return now.tv_sec;
}

DIR *
opendir(const char *path)
{
    NEXT(opendir)
    return fails(KIND_FOLDER, CALLER) ? NULL : next(path);
}
