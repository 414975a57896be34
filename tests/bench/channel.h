// A client's connection, plain or TLS: as send(2) and recv(2) on a descriptor that does not block.
#pragma once

#include <fcntl.h>
#include <poll.h>

#include "bench/sockets.h"
#include "warren/config.h"

#if WARREN_TLS
#include <openssl/ssl.h>
#endif

namespace bench {

#if WARREN_TLS

inline bssl::UniquePtr<SSL_CTX> makeContext() {
  bssl::UniquePtr<SSL_CTX> context(SSL_CTX_new(TLS_method()));
  if (!context || !SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION)) {
    fail("SSL_CTX_new");
  }
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  return context;
}

#endif

class Channel {
 public:
  Channel() = default;

  // Connected, and agreed on TLS: it waits for that. Nobody is verified.
  Channel(int port, bool tls)
      : fd_(must(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")) {
    setOption(fd_, IPPROTO_TCP, TCP_NODELAY, 1);
    useReno(fd_);
    const sockaddr_in address = loopback(port);
    must(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), "connect");
    if (tls) handshake();
    must(::fcntl(fd_, F_SETFL, O_NONBLOCK), "fcntl");
  }

  int fd() const { return fd_; }

  ssize_t send(const std::byte* bytes, size_t size) {
#if WARREN_TLS
    if (ssl_) return answer(SSL_write(ssl_.get(), bytes, static_cast<int>(size)));
#endif
    return ::send(fd_, bytes, size, MSG_NOSIGNAL);
  }

  ssize_t recv(std::byte* into, size_t size) {
#if WARREN_TLS
    if (ssl_) return answer(SSL_read(ssl_.get(), into, static_cast<int>(size)));
#endif
    return ::recv(fd_, into, size, 0);
  }

  // What came last may not be all that has come, though it did not fill the buffer: records.
  bool inPieces() const {
#if WARREN_TLS
    return ssl_ != nullptr;
#else
    return false;
#endif
  }

  void wait() const {
    pollfd one{fd_, POLLIN, 0};
    ::poll(&one, 1, -1);
  }

  // Says that nothing more will come.
  void end() {
#if WARREN_TLS
    if (ssl_) SSL_shutdown(ssl_.get());
#endif
    must(::shutdown(fd_, SHUT_WR), "shutdown");
  }

  void close() {
    ::close(fd_);
    *this = {};
  }

 private:
#if WARREN_TLS
  void handshake() {
    static const bssl::UniquePtr<SSL_CTX> context = makeContext();
    ssl_.reset(SSL_new(context.get()));
    SSL_set_shed_handshake_config(ssl_.get(), 1);
    SSL_set_fd(ssl_.get(), fd_);
    if (SSL_connect(ssl_.get()) != 1) fail("SSL_connect");
  }

  ssize_t answer(int result) const {
    if (result > 0) return result;
    const int error = SSL_get_error(ssl_.get(), result);
    if (error == SSL_ERROR_ZERO_RETURN) return 0;
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
    return -1;
  }

  bssl::UniquePtr<SSL> ssl_;
#else
  void handshake() { fail("no TLS in this build"); }
#endif

  int fd_ = -1;
};

}  // namespace bench
