#include "support/net.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace warren::test {
namespace {

using namespace std::chrono_literals;
constexpr std::chrono::milliseconds kPatience = 10s;

#ifdef MSG_NOSIGNAL
constexpr int kSendFlags = MSG_NOSIGNAL;
#else
constexpr int kSendFlags = 0;  // SO_NOSIGPIPE does it
#endif

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

void check(int answer, const char* what) {
  if (answer < 0) fail(what);
}

// The kernel has no room, or nothing there: a state, no error.
bool blocked() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

SocketAddress numericAddress(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int code = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (code != 0) throw std::runtime_error(host + ": " + gai_strerror(code));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  SocketAddress address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.size = found->ai_addrlen;
  return address;
}

SocketAddress unixAddress(const std::string& path) {
  SocketAddress address;
  auto* const name = reinterpret_cast<sockaddr_un*>(&address.storage);
  if (path.size() >= sizeof(name->sun_path)) throw std::runtime_error(path + ": too long");
  name->sun_family = AF_UNIX;
  std::memcpy(name->sun_path, path.c_str(), path.size() + 1);
  address.size = sizeof(sockaddr_un);
  return address;
}

int streamSocket(SocketAddress& address) {
  const int fd = ::socket(address.get()->sa_family, SOCK_STREAM, 0);
  check(fd, "socket");
  return fd;
}

void setOption(int fd, int option, int value) {
  check(setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value)), "setsockopt");
}

void listenAt(int fd, SocketAddress& address, int backlog) {
  check(::bind(fd, address.get(), address.size), "bind");
  check(::listen(fd, backlog), "listen");
}

}  // namespace

RawSocket::RawSocket(int fd) : fd_(fd) {
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_SETFL, O_NONBLOCK);
#ifdef SO_NOSIGPIPE
  setOption(fd, SO_NOSIGPIPE, 1);
#endif
}

RawSocket::RawSocket(RawSocket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), ended_(other.ended_) {}

RawSocket& RawSocket::operator=(RawSocket&& other) noexcept {
  RawSocket moved(std::move(other));
  std::swap(fd_, moved.fd_);
  std::swap(ended_, moved.ended_);
  return *this;
}

RawSocket RawSocket::connectTcp(uint16_t port, const std::string& host) {
  SocketAddress address = numericAddress(host, port);
  RawSocket socket(streamSocket(address));
  if (::connect(socket.fd_, address.get(), address.size) == 0) return socket;
  if (errno != EINPROGRESS) fail("connect");

  socket.wait(POLLOUT, "connect");
  int error = 0;
  socklen_t size = sizeof(error);
  check(getsockopt(socket.fd_, SOL_SOCKET, SO_ERROR, &error, &size), "getsockopt");
  if (error != 0) throw std::system_error(error, std::generic_category(), "connect");
  return socket;
}

// A unix socket connects at once or, with a full backlog, fails with EAGAIN.
RawSocket RawSocket::connectUnix(const std::string& path) {
  SocketAddress address = unixAddress(path);
  RawSocket socket(streamSocket(address));
  check(::connect(socket.fd_, address.get(), address.size), "connect");
  return socket;
}

RawSocket RawSocket::listenTcp(const std::string& host, uint16_t port, int backlog) {
  SocketAddress address = numericAddress(host, port);
  RawSocket socket(streamSocket(address));
  listenAt(socket.fd_, address, backlog);
  return socket;
}

RawSocket RawSocket::reserveTcp() {
  SocketAddress address = numericAddress("127.0.0.1", 0);
  RawSocket socket(streamSocket(address));
  setOption(socket.fd_, SO_REUSEADDR, 1);
  check(bind(socket.fd_, address.get(), address.size), "bind");
  return socket;
}

uint16_t deadPort() {
  static const RawSocket silent = RawSocket::reserveTcp();
  return silent.port();
}

RawSocket RawSocket::listenUnix(const std::string& path) {
  SocketAddress address = unixAddress(path);
  RawSocket socket(streamSocket(address));
  listenAt(socket.fd_, address, kBacklog);
  return socket;
}

RawSocket RawSocket::accept() {
  for (;;) {
    const int fd = ::accept(fd_, nullptr, nullptr);
    if (fd >= 0) return RawSocket(fd);
    if (!blocked()) fail("accept");
    wait(POLLIN, "accept");
  }
}

void RawSocket::sendAll(Bytes bytes) {
  while (!bytes.empty()) {
    const size_t sent = sendSome(bytes);
    bytes = bytes.subspan(sent);
    if (sent == 0) wait(POLLOUT, "sendAll");
  }
}

size_t RawSocket::sendSome(Bytes bytes) {
  const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), kSendFlags);
  if (sent >= 0) return static_cast<size_t>(sent);
  if (!blocked()) fail("send");
  return 0;
}

std::string RawSocket::readSome() {
  std::string text(size_t{64} << 10, '\0');
  text.resize(receive(text));
  return text;
}

std::string RawSocket::readAll() {
  std::string text;
  while (!ended_) {
    const std::string more = readSome();
    text += more;
    if (more.empty() && !ended_) wait(POLLIN, "readAll");
  }
  return text;
}

std::string RawSocket::readExactly(size_t count) {
  std::string text(count, '\0');
  size_t size = 0;
  while (size < count) {
    const size_t more = receive({text.data() + size, count - size});
    size += more;
    if (ended_) {
      throw std::runtime_error("readExactly: the peer ended after " + std::to_string(size) +
                               " of " + std::to_string(count) + " bytes");
    }
    if (more == 0) wait(POLLIN, "readExactly");
  }
  return text;
}

void RawSocket::shutdownWrite() { check(::shutdown(fd_, SHUT_WR), "shutdown"); }

void RawSocket::reset() {
  const linger none{.l_onoff = 1, .l_linger = 0};
  check(setsockopt(fd_, SOL_SOCKET, SO_LINGER, &none, sizeof(none)), "setsockopt");
  close();
}

void RawSocket::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void RawSocket::setSmallBuffers(int receive, int send) {
  setOption(fd_, SO_RCVBUF, receive);
  setOption(fd_, SO_SNDBUF, send);
}

uint16_t RawSocket::port() const {
  SocketAddress address;
  check(getsockname(fd_, address.get(), &address.size), "getsockname");
  if (address.storage.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<sockaddr_in*>(&address.storage)->sin_port);
  }
  if (address.storage.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<sockaddr_in6*>(&address.storage)->sin6_port);
  }
  return 0;
}

// What is there, without waiting: 0 when nothing is, and at the peer's FIN.
size_t RawSocket::receive(std::span<char> room) {
  const ssize_t count = ::recv(fd_, room.data(), room.size(), 0);
  if (count < 0 && !blocked()) fail("recv");
  if (count == 0) ended_ = true;
  return count > 0 ? static_cast<size_t>(count) : 0;
}

void RawSocket::wait(short events, const char* what) const {
  pollfd waiting{.fd = fd_, .events = events, .revents = 0};
  int count = 0;
  do {
    count = ::poll(&waiting, 1, static_cast<int>(kPatience.count()));
  } while (count < 0 && errno == EINTR);
  check(count, "poll");
  if (count == 0) throw std::runtime_error(std::string(what) + ": nothing happened for 10 s");
}

TempDir::TempDir() {
  const char* parent = std::getenv("TMPDIR");
  std::string name =
      std::string(parent != nullptr && *parent != '\0' ? parent : "/tmp") + "/warren-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) fail("mkdtemp");
  root_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(root_, ignored);
}

size_t openDescriptors() {
  const char* const linuxPath = "/proc/self/fd";
  const bool isLinux = std::filesystem::exists(linuxPath);
  const std::filesystem::directory_iterator open(isLinux ? linuxPath : "/dev/fd");
  return static_cast<size_t>(std::distance(begin(open), end(open))) - 1;  // the iterator's own
}

void runUntil(Reactor& reactor, const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) {
      throw std::runtime_error("runUntil: the condition did not hold within 10 s");
    }
    reactor.step(50ms);
  }
}

uint64_t hash(Bytes bytes, uint64_t previous) {
  for (const std::byte byte : bytes) {
    previous = (previous ^ std::to_integer<uint64_t>(byte)) * 0x100000001b3;
  }
  return previous;
}

std::vector<std::byte> pattern(size_t size, uint64_t seed) {
  std::vector<std::byte> bytes(size);
  for (size_t index = 0; index < size; ++index) {  // SplitMix64, a byte of each number
    uint64_t mixed = seed += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    bytes[index] = static_cast<std::byte>(mixed >> 56);
  }
  return bytes;
}

}  // namespace warren::test
