// SPDX-License-Identifier: Apache-2.0
// A disk that fails at the n-th touch: preloaded into a program (LD_PRELOAD) and into whatever that starts.
//
// Beside the library lies SETTINGS (its path and ".settings"), a line each: root, trace, number, way. Environments are
// scrubbed on the way to the processes that the program starts, files are not.
//
// Every call that changes something below the root is a touch. All processes count together, in the file that has
// ".state" instead. The touch of that number (1 is the first; 0: none) ends as the way says:
//   kill    the program gets SIGKILL before it;
//   torn    the same, where it is a write after the first half of its bytes, or at an odd touch all but the last one;
//   EIO     it fails with EIO, once;
//   ENOSPC  it fails with ENOSPC, and so does every later one that needs new space: writes, new files, folders, links.
//           A later rename or fsync works: names that move need no new block where one has just been left.
//   watch   none fails; before each, what is below the root is copied into a folder of the touch's number in "states".
// The trace is a file that gets one line a touch: number, call, path, second path, result.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

struct state {
  atomic_long touches;
  atomic_long fired;
  atomic_int program;
  atomic_int busy;  // while a touch is watched, which nothing else may change the disk meanwhile
};

enum how { NOTHING, KILL, TORN, ONCE, FULL, WATCH };

static struct state *state;
static char root[PATH_MAX];
static size_t root_length;
static long at;
static enum how how;
static int trace = -1;
static char states[PATH_MAX];

static int raw_open(const char *path, int flags, int mode) {
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static int beside(const char *ending, int flags) {
  Dl_info library;
  char path[PATH_MAX];
  if (!dladdr((void *)raw_open, &library)) return -1;
  snprintf(states, sizeof states, "%.*s/states", (int)(strrchr(library.dli_fname, '/') - library.dli_fname), library.dli_fname);
  snprintf(path, sizeof path, "%s%s", library.dli_fname, ending);
  return raw_open(path, flags | O_CLOEXEC, 0600);
}

__attribute__((constructor)) static void begin(void) {
  char text[2 * PATH_MAX] = "", *rest = text;
  int file = beside(".settings", O_RDONLY);
  if (file < 0) return;
  if (syscall(SYS_read, file, text, sizeof text - 1) <= 0) abort();
  syscall(SYS_close, file);
  snprintf(root, sizeof root, "%s", strsep(&rest, "\n"));
  root_length = strlen(root);
  trace = raw_open(strsep(&rest, "\n"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  at = atol(strsep(&rest, "\n"));
  const char *way = strsep(&rest, "\n");
  how = !strcmp(way, "kill") ? KILL : !strcmp(way, "torn") ? TORN : !strcmp(way, "EIO") ? ONCE : !strcmp(way, "ENOSPC") ? FULL : !strcmp(way, "watch") ? WATCH : NOTHING;
  file = beside(".state", O_RDWR | O_CREAT);
  if (file < 0 || syscall(SYS_ftruncate, file, sizeof(struct state))) abort();
  void *memory = mmap(NULL, sizeof(struct state), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) abort();
  syscall(SYS_close, file);
  state = memory;
  int nobody = 0;
  atomic_compare_exchange_strong(&state->program, &nobody, (int)getpid());
}

static const char *path_of(int file, char *room) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, room, PATH_MAX - 1);
  room[length > 0 ? length : 0] = 0;
  return room;
}

static const char *path_at(int folder, const char *name, char *room) {
  char start[PATH_MAX];
  if (name[0] == '/') snprintf(room, PATH_MAX, "%s", name);
  else {
    if (folder == AT_FDCWD) start[syscall(SYS_getcwd, start, sizeof start) > 0 ? strlen(start) : 0] = 0;
    else path_of(folder, start);
    if (snprintf(room, PATH_MAX, "%s/%s", start, name) < 0) room[0] = 0;
  }
  return room;
}

static int is_ours(const char *path) {
  return state && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static void die(void) {
  syscall(SYS_kill, atomic_load(&state->program), SIGKILL);
  syscall(SYS_kill, (int)syscall(SYS_getpid), SIGKILL);
  for (;;) pause();
}

struct touch {
  long number;
  int error;    // to fail with; 0: go on
  int is_torn;  // write a part, then die
};

#define PART(count) (touch.number % 2 ? (count) - 1 : (count) / 2)

enum space { NO_SPACE, MAYBE_SPACE, NEW_SPACE };

static void copied(long number) {
  char target[PATH_MAX + 32], *environment[] = {NULL};
  snprintf(target, sizeof target, "%s/%ld", states, number);
  char *command[] = {"cp", "-a", "--", root, target, NULL};
  pid_t copier;
  if (!posix_spawn(&copier, "/bin/cp", NULL, NULL, command, environment)) waitpid(copier, NULL, 0);
}

static struct touch touched(enum space space) {
  if (how == WATCH)
    while (atomic_exchange(&state->busy, 1)) usleep(200);
  struct touch touch = {atomic_fetch_add(&state->touches, 1) + 1, 0, 0};
  if (how == WATCH) copied(touch.number);
  if (how == FULL && at && touch.number >= at && (space == NEW_SPACE || (space && touch.number == at))) touch.error = ENOSPC;
  if (touch.number != at || how == NOTHING) {
    if (touch.error) atomic_store(&state->fired, 1);
    return touch;
  }
  if (how == KILL) {
    atomic_store(&state->fired, 1);
    die();
  }
  if (how == TORN) touch.is_torn = 1;
  if (how == ONCE) touch.error = EIO;
  if (how != FULL || space) atomic_store(&state->fired, 1);
  return touch;
}

static void told(long number, const char *call, const char *one, const char *other, long result, int error) {
  if (how == WATCH) atomic_store(&state->busy, 0);
  if (trace < 0) return;
  char line[2 * PATH_MAX + 128];
  int length = snprintf(line, sizeof line, "%ld\t%s\t%s\t%s\t%s\n", number, call, one, other, result < 0 ? strerrorname_np(error) : "ok");
  syscall(SYS_write, trace, line, (size_t)length);
}

#define REAL(name) \
  static __typeof__(name) *real; \
  if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

// One call that touches ONE (and OTHER): let it go, or fail, or die.
#define TOUCH(call, one, other, space, action) \
  do { \
    struct touch touch = touched(space); \
    if (touch.is_torn) die(); \
    long result = -1; \
    if (touch.error) errno = touch.error; \
    else result = (action); \
    int error = errno; \
    told(touch.number, call, one, other, result, error); \
    errno = error; \
    return result; \
  } while (0)

#define WRITING(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & (O_CREAT | O_TRUNC)))

static int opened(int folder, const char *name, int flags, mode_t mode) {
  char one[PATH_MAX];
  if (WRITING(flags) && is_ours(path_at(folder, name, one)))
    TOUCH("open", one, "", flags & O_CREAT ? NEW_SPACE : NO_SPACE, syscall(SYS_openat, folder, name, flags, mode));
  return (int)syscall(SYS_openat, folder, name, flags, mode);
}

#define MODE(flags, last) \
  mode_t mode = 0; \
  if ((flags) & (O_CREAT | O_TMPFILE)) { \
    va_list more; \
    va_start(more, last); \
    mode = va_arg(more, mode_t); \
    va_end(more); \
  }

int open(const char *name, int flags, ...) { MODE(flags, flags) return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags, flags) return opened(AT_FDCWD, name, flags | O_LARGEFILE, mode); }
int openat(int folder, const char *name, int flags, ...) { MODE(flags, flags) return opened(folder, name, flags, mode); }
int openat64(int folder, const char *name, int flags, ...) { MODE(flags, flags) return opened(folder, name, flags | O_LARGEFILE, mode); }

#define FD_TOUCH(name, file, space, halves, ...) \
  REAL(name); \
  char one[PATH_MAX]; \
  if (!is_ours(path_of(file, one))) return real(__VA_ARGS__); \
  struct touch touch = touched(space); \
  if (touch.is_torn) { \
    halves; \
    atomic_store(&state->fired, 1); \
    die(); \
  } \
  long result = -1; \
  if (touch.error) errno = touch.error; \
  else result = real(__VA_ARGS__); \
  int error = errno; \
  told(touch.number, #name, one, "", result, error); \
  errno = error; \
  return result

ssize_t write(int file, const void *bytes, size_t count) {
  FD_TOUCH(write, file, NEW_SPACE, (void)!real(file, bytes, PART(count)), file, bytes, count);
}
ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset) {
  FD_TOUCH(pwrite, file, NEW_SPACE, (void)!real(file, bytes, PART(count), offset), file, bytes, count, offset);
}
ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
  FD_TOUCH(pwrite64, file, NEW_SPACE, (void)!real(file, bytes, PART(count), offset), file, bytes, count, offset);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
  FD_TOUCH(writev, file, NEW_SPACE, (void)!real(file, parts, PART(count)), file, parts, count);
}
ssize_t sendfile(int file, int from, off_t *offset, size_t count) {
  FD_TOUCH(sendfile, file, NEW_SPACE, (void)!real(file, from, offset, PART(count)), file, from, offset, count);
}
ssize_t sendfile64(int file, int from, off64_t *offset, size_t count) {
  FD_TOUCH(sendfile64, file, NEW_SPACE, (void)!real(file, from, offset, PART(count)), file, from, offset, count);
}
ssize_t copy_file_range(int from, off64_t *start, int file, off64_t *offset, size_t count, unsigned flags) {
  FD_TOUCH(copy_file_range, file, NEW_SPACE, (void)0, from, start, file, offset, count, flags);
}
int ftruncate(int file, off_t size) { FD_TOUCH(ftruncate, file, MAYBE_SPACE, (void)0, file, size); }
int ftruncate64(int file, off64_t size) { FD_TOUCH(ftruncate64, file, MAYBE_SPACE, (void)0, file, size); }
int fsync(int file) { FD_TOUCH(fsync, file, MAYBE_SPACE, (void)0, file); }
int fdatasync(int file) { FD_TOUCH(fdatasync, file, MAYBE_SPACE, (void)0, file); }
int syncfs(int file) { FD_TOUCH(syncfs, file, MAYBE_SPACE, (void)0, file); }
int fchmod(int file, mode_t mode) { FD_TOUCH(fchmod, file, NO_SPACE, (void)0, file, mode); }
int fchown(int file, uid_t user, gid_t group) { FD_TOUCH(fchown, file, NO_SPACE, (void)0, file, user, group); }
int futimens(int file, const struct timespec times[2]) { FD_TOUCH(futimens, file, NO_SPACE, (void)0, file, times); }

#define PATH_TOUCH(name, folder, path, space, ...) \
  REAL(name); \
  char one[PATH_MAX]; \
  if (!is_ours(path_at(folder, path, one))) return real(__VA_ARGS__); \
  TOUCH(#name, one, "", space, real(__VA_ARGS__))

int mkdir(const char *path, mode_t mode) { PATH_TOUCH(mkdir, AT_FDCWD, path, NEW_SPACE, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { PATH_TOUCH(mkdirat, folder, path, NEW_SPACE, folder, path, mode); }
int rmdir(const char *path) { PATH_TOUCH(rmdir, AT_FDCWD, path, NO_SPACE, path); }
int unlink(const char *path) { PATH_TOUCH(unlink, AT_FDCWD, path, NO_SPACE, path); }
int unlinkat(int folder, const char *path, int flags) { PATH_TOUCH(unlinkat, folder, path, NO_SPACE, folder, path, flags); }
int chmod(const char *path, mode_t mode) { PATH_TOUCH(chmod, AT_FDCWD, path, NO_SPACE, path, mode); }
int fchmodat(int folder, const char *path, mode_t mode, int flags) {
  PATH_TOUCH(fchmodat, folder, path, NO_SPACE, folder, path, mode, flags);
}
int chown(const char *path, uid_t user, gid_t group) { PATH_TOUCH(chown, AT_FDCWD, path, NO_SPACE, path, user, group); }
int lchown(const char *path, uid_t user, gid_t group) { PATH_TOUCH(lchown, AT_FDCWD, path, NO_SPACE, path, user, group); }
int fchownat(int folder, const char *path, uid_t user, gid_t group, int flags) {
  PATH_TOUCH(fchownat, folder, path, NO_SPACE, folder, path, user, group, flags);
}
int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
  PATH_TOUCH(utimensat, folder, path, NO_SPACE, folder, path, times, flags);
}
int truncate(const char *path, off_t size) { PATH_TOUCH(truncate, AT_FDCWD, path, MAYBE_SPACE, path, size); }
int symlink(const char *to, const char *path) { PATH_TOUCH(symlink, AT_FDCWD, path, NEW_SPACE, to, path); }
int symlinkat(const char *to, int folder, const char *path) { PATH_TOUCH(symlinkat, folder, path, NEW_SPACE, to, folder, path); }

#define PAIR_TOUCH(name, space, from_folder, from, to_folder, to, ...) \
  REAL(name); \
  char one[PATH_MAX], other[PATH_MAX]; \
  path_at(from_folder, from, one); \
  path_at(to_folder, to, other); \
  if (!is_ours(one) && !is_ours(other)) return real(__VA_ARGS__); \
  TOUCH(#name, one, other, space, real(__VA_ARGS__))

int rename(const char *from, const char *to) { PAIR_TOUCH(rename, MAYBE_SPACE, AT_FDCWD, from, AT_FDCWD, to, from, to); }
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
  PAIR_TOUCH(renameat, MAYBE_SPACE, from_folder, from, to_folder, to, from_folder, from, to_folder, to);
}
int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
  PAIR_TOUCH(renameat2, MAYBE_SPACE, from_folder, from, to_folder, to, from_folder, from, to_folder, to, flags);
}
int link(const char *from, const char *to) { PAIR_TOUCH(link, NEW_SPACE, AT_FDCWD, from, AT_FDCWD, to, from, to); }
int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
  PAIR_TOUCH(linkat, NEW_SPACE, from_folder, from, to_folder, to, from_folder, from, to_folder, to, flags);
}
