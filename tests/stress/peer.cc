#include "stress/peer.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace stress {
namespace {

constexpr double kPatience = 60;
constexpr uint32_t kSources = 16;

uint64_t compared = 0;

sockaddr_in loopback(uint32_t last, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl((INADDR_LOOPBACK & ~0xffu) | last);
  return address;
}

const sockaddr* generic(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

void setOption(int fd, int level, int name, int value) {
  must(::setsockopt(fd, level, name, &value, sizeof value), "setsockopt");
}

#if WARREN_TLS
SSL_CTX* context() {
  static const bssl::UniquePtr<SSL_CTX> made = [] {
    bssl::UniquePtr<SSL_CTX> context(SSL_CTX_new(TLS_method()));
    SSL_CTX_set_mode(context.get(),
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
    return context;
  }();
  return made.get();
}
#endif

}  // namespace

// --- Wire ----------------------------------------------------------------------------------------

Wire::Wire(const Target& target) {
  static uint32_t dialed = 0;
  fd_ = must(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  setOption(fd_, IPPROTO_TCP, TCP_NODELAY, 1);
  setOption(fd_, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  const sockaddr_in source = loopback(2 + dialed++ % kSources, 0);
  must(::bind(fd_, generic(source), sizeof source), "bind");
  const sockaddr_in server = loopback(1, target.port);
  const int connected = ::connect(fd_, generic(server), sizeof server);
  if (connected < 0 && errno != EINPROGRESS && errno != ECONNREFUSED) must(connected, "connect");
#if WARREN_TLS
  if (!target.tls) return;
  ssl_.reset(SSL_new(context()));
  SSL_set_shed_handshake_config(ssl_.get(), 1);
  SSL_set_fd(ssl_.get(), fd_);
  SSL_set_connect_state(ssl_.get());  // reading and writing shake hands
#else
  if (target.tls) fail("no TLS in this build");
#endif
}

Wire& Wire::operator=(Wire&& other) noexcept {
  close();
  fd_ = std::exchange(other.fd_, -1);
#if WARREN_TLS
  ssl_ = std::move(other.ssl_);
#endif
  return *this;
}

#if WARREN_TLS
ssize_t Wire::answer(int result) const {
  if (result > 0) return result;
  const int number = errno;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      errno = EAGAIN;
      return -1;
    case SSL_ERROR_SYSCALL:
      errno = result == 0 ? ECONNRESET : number;  // a FIN without close_notify
      return -1;
    default:
      errno = EPROTO;
      return -1;
  }
}
#endif

ssize_t Wire::send(const std::byte* bytes, size_t size) {
#if WARREN_TLS
  if (ssl_) return answer(SSL_write(ssl_.get(), bytes, static_cast<int>(size)));
#endif
  return ::send(fd_, bytes, size, MSG_NOSIGNAL);
}

ssize_t Wire::recv(std::byte* into, size_t size) {
#if WARREN_TLS
  if (ssl_) return answer(SSL_read(ssl_.get(), into, static_cast<int>(size)));
#endif
  return ::recv(fd_, into, size, 0);
}

void Wire::shutdownWrite() {
#if WARREN_TLS
  if (ssl_) SSL_shutdown(ssl_.get());
#endif
  ::shutdown(fd_, SHUT_WR);  // who was reset meanwhile hears of it by reading
}

void Wire::reset() {
  if (fd_ < 0) return;
  const linger none{.l_onoff = 1, .l_linger = 0};
  must(::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &none, sizeof none), "SO_LINGER");
  close();
}

void Wire::close() {
#if WARREN_TLS
  ssl_.reset();
#endif
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

// --- Loop ----------------------------------------------------------------------------------------

Loop::Loop() : epoll_(must(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")), lastEvent_(now()) {}

void Loop::watch(int fd, Peer* peer) {
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.ptr = peer}};
  must(::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

void Loop::turn(int milliseconds) {
  std::array<epoll_event, 256> events;
  const int count = ::epoll_wait(epoll_, events.data(), events.size(), milliseconds);
  if (count > 0) lastEvent_ = now();
  if (now() - lastEvent_ > kPatience) fail("nothing has happened for %.0f s", kPatience);
  for (int i = 0; i < count; ++i) {
    static_cast<Peer*>(events[static_cast<size_t>(i)].data.ptr)->onEvent();
  }
}

// --- Peer ----------------------------------------------------------------------------------------

void Peer::dial(const Target& target) {
  static uint64_t dialed = 0;
  wire_ = Wire(target);
  offset_ = ++dialed * 7919;
  sent_ = received_ = goal_ = 0;
  broken_ = 0;
  ended_ = finishing_ = finished_ = false;
  connecting_ = true;
  loop_->watch(wire_.fd(), this);
}

void Peer::say(uint64_t bytes) {
  goal_ += bytes;
  pump();
}

void Peer::finish() {
  finishing_ = true;
  pump();
}

void Peer::onEvent() {
  if (!open()) return;
  connecting_ = false;
  if (reading_) read(UINT64_MAX);
  pump();
  step();
}

void Peer::pump() {
  if (connecting_) return;
  while (open() && broken_ == 0 && sent_ < goal_) {
    const auto size = static_cast<size_t>(std::min<uint64_t>(goal_ - sent_, kChunk));
    const ssize_t count = wire_.send(expected(offset_ + sent_), size);
    if (count < 0 && errno != EAGAIN) broken_ = errno;
    if (count < 0) return;
    sent_ += static_cast<uint64_t>(count);
  }
  if (finishing_ && !finished_ && sent_ == goal_ && open()) {
    finished_ = true;
    wire_.shutdownWrite();
  }
}

void Peer::read(uint64_t limit) {
  static std::array<std::byte, kChunk> buffer;
  while (open() && broken_ == 0 && !ended_ && limit > 0) {
    const auto room = static_cast<size_t>(std::min<uint64_t>(limit, kChunk));
    const ssize_t count = wire_.recv(buffer.data(), room);
    if (count < 0 && errno != EAGAIN) broken_ = errno;
    if (count < 0) return;
    const auto size = static_cast<size_t>(count);
    ended_ = size == 0;
    if (received_ + size > sent_ ||
        std::memcmp(buffer.data(), expected(offset_ + received_), size) != 0) {
      fail("byte %zu and the %zu behind it are not what was sent", size_t{received_}, size);
    }
    received_ += size;
    compared += size;
    limit -= size;
  }
}

void Peer::setReceiveBuffer(int size) { setOption(wire_.fd(), SOL_SOCKET, SO_RCVBUF, size); }

uint64_t Peer::retransmitted() const {
  tcp_info info{};
  socklen_t size = sizeof info;
  must(::getsockopt(wire_.fd(), IPPROTO_TCP, TCP_INFO, &info, &size), "TCP_INFO");
  return info.tcpi_total_retrans;
}

uint64_t bytesCompared() { return compared; }

}  // namespace stress
