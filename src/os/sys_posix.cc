#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>
#include <memory>

#include "base/check.h"
#include "os/address.h"
#include "os/platform.h"
#include "os/sys.h"

namespace warren::os::sys {
namespace {

#ifdef MSG_NOSIGNAL
constexpr int kNoSignal = MSG_NOSIGNAL;
#else
constexpr int kNoSignal = 0;  // SO_NOSIGPIPE instead: see adopt()
#endif

// Darwin refuses more than INT_MAX bytes in a call, and for a moment tells of a connection that breaks by
// EPROTOTYPE.
#if WARREN_DARWIN
constexpr size_t kMostAtOnce = INT_MAX;
Answer sent(Answer answer) { return answer == -EPROTOTYPE ? -ECONNRESET : answer; }
#else
constexpr size_t kMostAtOnce = SIZE_MAX;
Answer sent(Answer answer) { return answer; }
#endif

#if defined(SO_REUSEPORT_LB)
constexpr int kReusePort = SO_REUSEPORT_LB;  // FreeBSD: plain SO_REUSEPORT does not balance there
#else
constexpr int kReusePort = SO_REUSEPORT;
#endif

Answer failure() { return errno == EWOULDBLOCK ? -EAGAIN : -errno; }

// Makes a call until it is answered: after EINTR nothing has happened yet.
template <class Call>
inline Answer answer(Call call) {
  for (;;) {
    const Answer result = call();
    if (result >= 0) [[likely]]
      return result;
    if (errno != EINTR) return failure();
  }
}

template <class Value>
Answer setOption(int fd, int level, int name, Value value) {
  return answer([&] { return ::setsockopt(fd, level, name, &value, sizeof value); });
}

Answer getOption(int fd, int name, int& value) {
  socklen_t size = sizeof value;
  return answer([&] { return ::getsockopt(fd, SOL_SOCKET, name, &value, &size); });
}

sockaddr* plain(sockaddr_storage& name) { return reinterpret_cast<sockaddr*>(&name); }

int domainOf(Family family) {
  switch (family) {
    case Family::ipv4:
      return AF_INET;
    case Family::ipv6:
      return AF_INET6;
    case Family::unix:
      return AF_UNIX;
    case Family::none:
      break;
  }
  return AF_UNSPEC;
}

// Adopts a descriptor that was just made, or closes it and gives the error.
[[maybe_unused]] Answer adoptOwn(Answer made) {
  if (made < 0) return made;
  const int fd = static_cast<int>(made);
  const Answer adopted = adopt(fd);
  if (adopted < 0) close(fd);
  return adopted < 0 ? adopted : made;
}

// Fills `into` and returns the size in use, or -errno.
Answer toUnixName(std::string_view path, sockaddr_un& into) {
  const bool abstract = path.starts_with('\0');
  if (abstract && !WARREN_LINUX) return -EINVAL;
  // An empty name means "choose one" to bind(2), and a NUL inside would cut a path short.
  if (path.empty() || (!abstract && path.find('\0') != path.npos)) return -EINVAL;
  // An abstract name ends with its last byte, a path with a NUL of its own.
  const size_t size = path.size() + (abstract ? 0 : 1);
  if (size > sizeof into.sun_path) return -EINVAL;
  into = {};
  into.sun_family = AF_UNIX;
  std::memcpy(into.sun_path, path.data(), path.size());
  return static_cast<Answer>(offsetof(sockaddr_un, sun_path) + size);
}

// An interrupted connect goes on by itself; to ask again would be answered with EALREADY.
Answer connectTo(int fd, const sockaddr* name, socklen_t size) {
  if (::connect(fd, name, size) == 0) return 0;
  return errno == EINTR ? -EINPROGRESS : failure();
}

using AskName = int (*)(int, sockaddr*, socklen_t*);

// What getsockname(2) or getpeername(2) tells: the size in use, 0 when it is nothing.
socklen_t nameBy(AskName ask, int fd, sockaddr_storage& name) {
  socklen_t size = sizeof name;
  if (ask(fd, plain(name), &size) < 0) return 0;
  return std::min<socklen_t>(size, sizeof name);
}

Address addressBy(AskName ask, int fd) {
  sockaddr_storage name;
  const socklen_t size = nameBy(ask, fd, name);
  return fromSockaddr(plain(name), size);
}

}  // namespace

bool blocked(Answer answer) { return answer == -EAGAIN; }

Answer recv(int fd, std::span<std::byte> into) {
  WARREN_CHECK(!into.empty());
  return answer([&] { return ::recv(fd, into.data(), into.size(), 0); });
}

Answer peek(int fd, std::span<std::byte> into) {
  return answer([&] { return ::recv(fd, into.data(), into.size(), MSG_PEEK); });
}

Answer send(int fd, Bytes bytes) {
  const size_t size = std::min(bytes.size(), kMostAtOnce);
  return sent(answer([&] { return ::send(fd, bytes.data(), size, kNoSignal); }));
}

Answer sendSegments(int fd, std::span<const Bytes> segments) {
  WARREN_CHECK(segments.size() <= kMaxSegments);
  const auto big = [](Bytes bytes) { return bytes.size() > kMostAtOnce / kMaxSegments; };
  if (WARREN_DARWIN && std::any_of(segments.begin(), segments.end(), big)) {
    return send(fd, *std::find_if(segments.begin(), segments.end(),
                                  [](Bytes bytes) { return !bytes.empty(); }));
  }
  std::array<iovec, kMaxSegments> parts;
  std::transform(segments.begin(), segments.end(), parts.begin(), [](Bytes bytes) {
    return iovec{const_cast<std::byte*>(bytes.data()), bytes.size()};
  });
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(segments.size());
  return sent(answer([&] { return ::sendmsg(fd, &message, kNoSignal); }));
}

Answer shutdown(int fd, Side side) {
  const int how = side == Side::read ? SHUT_RD : side == Side::write ? SHUT_WR : SHUT_RDWR;
  return answer([&] { return ::shutdown(fd, how); });
}

// Never again after EINTR: the descriptor is gone by then, and its number may be another's.
void close(int fd) { ::close(fd); }

// A unix socket takes the option and ignores it: for it this is a plain close.
void reset(int fd) {
  setOption(fd, SOL_SOCKET, SO_LINGER, linger{1, 0});
  close(fd);
}

Answer socket(Family family) {
  const int domain = domainOf(family);
  if (domain == AF_UNSPEC) return -EAFNOSUPPORT;
#if defined(SOCK_NONBLOCK)
  constexpr int kType = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const Answer made = answer([&] { return ::socket(domain, kType, 0); });
#else
  const Answer made = adoptOwn(answer([&] { return ::socket(domain, SOCK_STREAM, 0); }));
#endif
  if (made >= 0 && family != Family::unix) setNoDelay(static_cast<int>(made), true);
  return made;
}

Answer adopt(int fd) {
  const Answer flags = answer([&] { return ::fcntl(fd, F_GETFL); });
  if (flags < 0) return flags;
  const int nonBlocking = static_cast<int>(flags) | O_NONBLOCK;
  if (::fcntl(fd, F_SETFL, nonBlocking) < 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
    return failure();
  }
#ifdef SO_NOSIGPIPE
  // Darwin answers EINVAL when the peer has reset already: the next read tells that better.
  setOption(fd, SOL_SOCKET, SO_NOSIGPIPE, 1);
#endif
  return 0;
}

Answer bind(int fd, const Address& address, const BindOptions& options) {
  Answer set = 0;
  if (options.reuseAddress) set = setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (set == 0 && options.reusePort) set = setOption(fd, SOL_SOCKET, kReusePort, 1);
  if (set == 0 && address.family() == Family::ipv6) {
    set = setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, int{options.ipv6Only});
    // OpenBSD knows IPv6-only sockets alone and refuses to say otherwise.
    if (!options.ipv6Only) set = 0;
  }
  if (set < 0) return set;
  sockaddr_storage name;
  const socklen_t size = toSockaddr(address, name);
  return answer([&] { return ::bind(fd, plain(name), size); });
}

Answer bindUnix(int fd, std::string_view path) {
  sockaddr_un name;
  const Answer size = toUnixName(path, name);
  if (size < 0) return size;
  return answer(
      [&] { return ::bind(fd, reinterpret_cast<sockaddr*>(&name), static_cast<socklen_t>(size)); });
}

Answer listen(int fd, int backlog) {
  return answer([&] { return ::listen(fd, backlog); });
}

// kqueue systems may hand out a connection that is dead already, with a name of size 0: it becomes
// Family::none here, and its first read tells the rest.
Answer accept(int fd, Address& peer) {
  sockaddr_storage name;
  socklen_t size = sizeof name;
#if defined(SOCK_NONBLOCK)
  constexpr int kFlags = SOCK_NONBLOCK | SOCK_CLOEXEC;
  const Answer accepted = answer([&] { return ::accept4(fd, plain(name), &size, kFlags); });
#else
  const Answer accepted = adoptOwn(answer([&] { return ::accept(fd, plain(name), &size); }));
#endif
  if (accepted >= 0) peer = fromSockaddr(plain(name), size);
  return accepted;
}

Answer connect(int fd, const Address& address) {
  sockaddr_storage name;
  const socklen_t size = toSockaddr(address, name);
  return connectTo(fd, plain(name), size);
}

Answer connectUnix(int fd, std::string_view path) {
  sockaddr_un name;
  const Answer size = toUnixName(path, name);
  if (size < 0) return size;
  return connectTo(fd, reinterpret_cast<sockaddr*>(&name), static_cast<socklen_t>(size));
}

int pendingError(int fd) {
  int error = 0;
  const Answer asked = getOption(fd, SO_ERROR, error);
  return asked < 0 ? static_cast<int>(-asked) : error;
}

bool hasRoom(int fd) {
  pollfd one{fd, POLLOUT, 0};
  return ::poll(&one, 1, 0) != 0;
}

Address localAddress(int fd) { return addressBy(::getsockname, fd); }

Address peerAddress(int fd) { return addressBy(::getpeername, fd); }

Answer kindOf(int fd) {
  int type = 0;
  int listening = 0;
  if (const Answer asked = getOption(fd, SO_TYPE, type); asked < 0) return asked;
  if (type != SOCK_STREAM) return static_cast<Answer>(Kind::other);
  const Answer asked = getOption(fd, SO_ACCEPTCONN, listening);
  // macOS and OpenBSD do not tell.
  if (asked == -ENOPROTOOPT)
    listening = peerAddress(fd).family() == Family::none ? 1 : 0;
  else if (asked < 0)
    return asked;
  return static_cast<Answer>(listening != 0 ? Kind::listener : Kind::stream);
}

std::string unixPath(int fd) {
  constexpr size_t kPathBegin = offsetof(sockaddr_un, sun_path);
  sockaddr_storage name;
  const size_t size = nameBy(::getsockname, fd, name);
  if (size <= kPathBegin || name.ss_family != AF_UNIX) return {};
  const std::string_view path(reinterpret_cast<const char*>(&name) + kPathBegin, size - kPathBegin);
  // Elsewhere than on Linux an unnamed socket has a path of NUL bytes only.
  if (WARREN_LINUX && path.front() == '\0') return std::string(path);
  return std::string(path.substr(0, path.find('\0')));
}

Answer setNoDelay(int fd, bool on) { return setOption(fd, IPPROTO_TCP, TCP_NODELAY, int{on}); }

Answer setKeepAlive(int fd, bool on, int idleSeconds) {
  const Answer set = setOption(fd, SOL_SOCKET, SO_KEEPALIVE, int{on});
  if (set < 0 || !on || idleSeconds == 0) return set;
#if defined(TCP_KEEPIDLE)
  return setOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, idleSeconds);
#elif defined(TCP_KEEPALIVE)
  return setOption(fd, IPPROTO_TCP, TCP_KEEPALIVE, idleSeconds);
#else
  return set;  // OpenBSD: one time for the whole system
#endif
}

// Probes start at half of the time, so that four more fit in before it is up.
Answer setDeadPeer(int fd, int milliseconds) {
  const int seconds = (milliseconds + 999) / 1000;
  Answer set = setKeepAlive(fd, milliseconds > 0, (seconds + 1) / 2);
#if defined(TCP_KEEPINTVL) && defined(TCP_KEEPCNT)
  if (set == 0 && milliseconds > 0) {
    set = setOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, std::max(1, seconds / 8));
    if (set == 0) set = setOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
  }
#endif
  if (set < 0) return set;
#if defined(TCP_USER_TIMEOUT)
  return setOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, milliseconds);
#elif defined(TCP_RXT_CONNDROPTIME)
  return setOption(fd, IPPROTO_TCP, TCP_RXT_CONNDROPTIME, seconds);
#else
  return set;  // the probes alone
#endif
}

FileId fileId(const std::string& path) {
  struct stat facts;
  if (::lstat(path.c_str(), &facts) < 0) return {};
  return {true, static_cast<uint64_t>(facts.st_dev), static_cast<uint64_t>(facts.st_ino)};
}

void unlink(const std::string& path) { ::unlink(path.c_str()); }

std::string absolutePath(std::string_view path) {
  std::array<char, PATH_MAX> folder;
  const bool relative = !path.empty() && path.front() != '/' && path.front() != '\0';
  if (!relative || ::getcwd(folder.data(), folder.size()) == nullptr) return std::string(path);
  std::string absolute = folder.data();
  if (absolute.back() != '/') absolute += '/';
  return absolute.append(path);
}

uint64_t now() {
  timespec time;
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

Answer spare() {
  return answer([] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); });
}

#if WARREN_THREADS

namespace {

struct Errand {
  void (*work)(void*);
  void* argument;
};

void* runErrand(void* errand) {
  const std::unique_ptr<Errand> own(static_cast<Errand*>(errand));
  own->work(own->argument);
  return nullptr;
}

}  // namespace

Answer startThread(void (*work)(void*), void* argument) {
  auto errand = std::make_unique<Errand>(Errand{work, argument});
  pthread_t thread;
  if (const int error = ::pthread_create(&thread, nullptr, runErrand, errand.get()); error != 0) {
    return -error;
  }
  static_cast<void>(errand.release());
  ::pthread_detach(thread);
  return 0;
}

#endif

uint32_t forkCount() {
  static std::atomic<uint32_t> forks{0};
  [[maybe_unused]] static const int registered =
      ::pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
  return forks.load(std::memory_order_relaxed);
}

}  // namespace warren::os::sys
