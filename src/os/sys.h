// The system calls warren makes, one function each. Tests and fuzzers link another kernel in place of
// sys_posix.cc; nothing above this floor names a system call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "os/platform.h"
#include "warren/address.h"
#include "warren/bytes.h"

namespace warren::os::sys {

// What the kernel answered: a count or a descriptor, or a negated errno. EINTR never comes up:
// interrupted calls are made again. EWOULDBLOCK comes up as -EAGAIN only.
using Answer = std::ptrdiff_t;

// True for "not now": -EAGAIN. It is a state, no error.
bool blocked(Answer answer);

enum class Side : uint8_t { read, write, both };

// --- streams -------------------------------------------------------------------------------------

// recv(2): the bytes read; 0 is the peer's FIN (into is never empty).
Answer recv(int fd, std::span<std::byte> into);
// The same with MSG_PEEK: the bytes stay.
Answer peek(int fd, std::span<std::byte> into);
// send(2) without SIGPIPE.
Answer send(int fd, Bytes bytes);
// sendmsg(2) without SIGPIPE: up to kMaxSegments segments in one call; empty ones are allowed.
constexpr size_t kMaxSegments = 8;
Answer sendSegments(int fd, std::span<const Bytes> segments);
// shutdown(2). 0, or -ENOTCONN and the like.
Answer shutdown(int fd, Side side);
// close(2), once; errors are of no use and dropped.
void close(int fd);
// Closes so that the peer gets a reset and unsent bytes are dropped: SO_LINGER 0, then close.
void reset(int fd);

// --- making --------------------------------------------------------------------------------------
// Every descriptor is non-blocking and close-on-exec from its first moment.

// A stream socket of a family. TCP sockets get TCP_NODELAY (accepted ones inherit it from their
// listener), and SO_NOSIGPIPE where there is no MSG_NOSIGNAL.
Answer socket(Family family);
// Makes a descriptor that came from elsewhere ready for us: non-blocking, close-on-exec.
Answer adopt(int fd);

struct BindOptions {
  bool reuseAddress = false;  // SO_REUSEADDR
  bool reusePort = false;  // SO_REUSEPORT, or SO_REUSEPORT_LB where that is the one that balances
  bool ipv6Only = false;   // IPV6_V6ONLY; said either way for ipv6
};
Answer bind(int fd, const Address& address, const BindOptions& options);
// Binds a unix socket. A path that begins with a NUL byte is a Linux abstract name. -EINVAL when
// it does not fit sun_path with its end; never cut short.
Answer bindUnix(int fd, std::string_view path);
Answer listen(int fd, int backlog);
// accept4(2). `peer` is set on success (Family::unix for unix sockets).
Answer accept(int fd, Address& peer);
// connect(2): 0 connected, -EINPROGRESS under way. For unix sockets a full backlog is -EAGAIN.
Answer connect(int fd, const Address& address);
Answer connectUnix(int fd, std::string_view path);

// --- facts and options ---------------------------------------------------------------------------

// SO_ERROR, cleared by asking: 0 or a positive errno.
int pendingError(int fd);
// Whether a send would be taken, or would fail: poll(2) for POLLOUT.
bool hasRoom(int fd);
// Either end's address; Family::none when the kernel does not tell.
Address localAddress(int fd);
Address peerAddress(int fd);
// What is behind a descriptor: -ENOTSOCK, -EBADF, or one of these.
enum class Kind : int { other, stream, listener };
Answer kindOf(int fd);
// The path of a bound unix socket; a leading NUL for abstract names. Empty when there is none.
std::string unixPath(int fd);
// 0 or -errno.
Answer setNoDelay(int fd, bool on);
// SO_KEEPALIVE; `idleSeconds` before the first probe, 0 leaves the system's.
Answer setKeepAlive(int fd, bool on, int idleSeconds);
// Gives up on a peer that has not answered for so long, to data or to keep-alive probes; 0: off.
Answer setDeadPeer(int fd, int milliseconds);

// --- files, time, names, processes ---------------------------------------------------------------

// Identity of a file, to unlink only our own. `found` false when there is none.
struct FileId {
  bool found = false;
  uint64_t device = 0;
  uint64_t inode = 0;
  bool operator==(const FileId&) const = default;
};
FileId fileId(const std::string& path);
void unlink(const std::string& path);
// The absolute form of a path, so that a later chdir(2) does not matter.
std::string absolutePath(std::string_view path);

// Monotonic nanoseconds. They never run backwards and know no time zone.
uint64_t now();

// A descriptor kept aside to be given up when there are none left: /dev/null, or -errno.
Answer spare();

// How many times this process is a fork away from where the library was first used. A reactor that
// finds another number than at its start is in a child.
uint32_t forkCount();

#if WARREN_THREADS
// Runs `work` on a thread of its own, that nobody waits for: pthread_create(3).
Answer startThread(void (*work)(void*), void* argument);
#endif

}  // namespace warren::os::sys
