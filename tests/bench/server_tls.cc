// The ceiling for TLS: an echo server on bare epoll and BoringSSL. `server_tls CERT KEY`
//
// What it knows of speed: one recv gives BoringSSL all it has brought, one record carries all of a
// turn's echo, one send takes all records; buffers belong to the server, and connections have none of
// their own unless the peer is slow.
#include "bench/channel.h"

#if WARREN_TLS

#include <sys/epoll.h>

#include <algorithm>
#include <string>
#include <vector>

namespace {

using bench::must;

bssl::UniquePtr<SSL_CTX> makeServerContext(const char* cert, const char* key) {
  bssl::UniquePtr<SSL_CTX> context = bench::makeContext();
  if (SSL_CTX_use_certificate_chain_file(context.get(), cert) != 1 ||
      SSL_CTX_use_PrivateKey_file(context.get(), key, SSL_FILETYPE_PEM) != 1) {
    bench::fail(cert);
  }
  return context;
}

constexpr size_t kBatch = 256;
constexpr int kAccepts = 64;

struct Peer {
  bssl::UniquePtr<SSL> ssl;
  std::string rest;  // records the kernel did not take. Nothing is read while there are some
};

class Server {
 public:
  Server(const char* cert, const char* key) : context_(makeServerContext(cert, key)) {
    BIO_METHOD* method = BIO_meth_new(BIO_get_new_index(), "bench");
    BIO_meth_set_read(method, [](BIO* bio, char* into, int size) {
      return static_cast<Server*>(BIO_get_data(bio))->takeInput(bio, into, size);
    });
    BIO_meth_set_write(method, [](BIO* bio, const char* bytes, int size) {
      static_cast<Server*>(BIO_get_data(bio))->output_.append(bytes, static_cast<size_t>(size));
      return size;
    });
    BIO_meth_set_ctrl(method,
                      [](BIO*, int what, long, void*) { return what == BIO_CTRL_FLUSH ? 1L : 0L; });
    bio_.reset(BIO_new(method));
    BIO_set_data(bio_.get(), this);
    BIO_set_init(bio_.get(), 1);
    bench::announce(listener_);
    watch(EPOLL_CTL_ADD, listener_, EPOLLIN);
  }

  void run() {
    epoll_event events[kBatch];
    for (;;) {
      const int count = ::epoll_wait(epoll_, events, kBatch, -1);
      for (int i = 0; i < count; ++i) {
        const int fd = events[i].data.fd;
        if (fd == listener_) {
          acceptSome();
        } else if (!peers_[static_cast<size_t>(fd)].rest.empty()) {
          flushRest(fd);
        } else {
          receive(fd);
        }
      }
    }
  }

 private:
  void acceptSome() {
    for (int i = 0; i < kAccepts; ++i) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      if (peers_.size() <= static_cast<size_t>(fd)) peers_.resize(static_cast<size_t>(fd) * 2 + 64);
      SSL* ssl = SSL_new(context_.get());
      SSL_set_accept_state(ssl);
      SSL_set_shed_handshake_config(ssl, 1);
      BIO_up_ref(bio_.get());
      SSL_set_bio(ssl, bio_.get(), bio_.get());
      peers_[static_cast<size_t>(fd)].ssl.reset(ssl);
      watch(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
  }

  void watch(int operation, int fd, uint32_t interest) {
    epoll_event event{.events = interest, .data = {.fd = fd}};
    must(::epoll_ctl(epoll_, operation, fd, &event), "epoll_ctl");
  }

  int takeInput(BIO* bio, char* into, int size) {
    BIO_clear_retry_flags(bio);
    const size_t count = std::min(static_cast<size_t>(size), inputSize_ - inputAt_);
    if (count == 0) {
      BIO_set_retry_read(bio);
      return -1;
    }
    std::memcpy(into, input_.get() + inputAt_, count);
    inputAt_ += count;
    return static_cast<int>(count);
  }

  void receive(int fd) {
    const ssize_t size = ::recv(fd, input_.get(), bench::kBuffer, 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) return close(fd);
    inputAt_ = 0;
    inputSize_ = static_cast<size_t>(size);
    SSL* ssl = peers_[static_cast<size_t>(fd)].ssl.get();
    for (;;) {
      size_t plain = 0;
      int error = SSL_ERROR_NONE;
      while (plain < bench::kBuffer && error == SSL_ERROR_NONE) {
        const int room = static_cast<int>(bench::kBuffer - plain);
        const int read = SSL_read(ssl, plain_.get() + plain, room);
        if (read > 0) plain += static_cast<size_t>(read);
        if (read <= 0) error = SSL_get_error(ssl, read);
      }
      for (size_t at = 0; at < plain;) {
        const int sealed = SSL_write(ssl, plain_.get() + at, static_cast<int>(plain - at));
        if (sealed <= 0) return close(fd);
        at += static_cast<size_t>(sealed);
      }
      if (error == SSL_ERROR_WANT_READ) break;
      if (error == SSL_ERROR_NONE) continue;
      if (error == SSL_ERROR_ZERO_RETURN) SSL_shutdown(ssl);
      flush(fd);
      return close(fd);
    }
    flush(fd);
  }

  // One send for all records of the turn.
  void flush(int fd) {
    if (output_.empty()) return;
    const ssize_t sent = ::send(fd, output_.data(), output_.size(), MSG_NOSIGNAL);
    const size_t count = sent > 0 ? static_cast<size_t>(sent) : 0;
    if (count < output_.size()) {
      peers_[static_cast<size_t>(fd)].rest = output_.substr(count);
      watch(EPOLL_CTL_MOD, fd, EPOLLOUT);
    }
    output_.clear();
  }

  void flushRest(int fd) {
    std::string& rest = peers_[static_cast<size_t>(fd)].rest;
    const ssize_t sent = ::send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? void() : close(fd);
    rest.erase(0, static_cast<size_t>(sent));
    if (!rest.empty()) return;
    std::string().swap(rest);
    watch(EPOLL_CTL_MOD, fd, EPOLLIN);
  }

  void close(int fd) {
    peers_[static_cast<size_t>(fd)] = {};
    output_.clear();
    ::close(fd);
  }

  const bssl::UniquePtr<SSL_CTX> context_;
  bssl::UniquePtr<BIO> bio_;  // one for all: input and output belong to the turn
  const int epoll_ = must(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const int listener_ = bench::listenOnLoopback();
  bench::Block input_ = bench::makeBuffer();
  bench::Block plain_ = bench::makeBuffer();
  size_t inputAt_ = 0;
  size_t inputSize_ = 0;
  std::string output_;
  std::vector<Peer> peers_;  // by descriptor
};

}  // namespace

int main(int, char** argv) {
  bench::prepare();
  Server(argv[1], argv[2]).run();
}

#else

int main() {}

#endif
