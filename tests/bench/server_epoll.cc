// The ceiling: an echo server on bare epoll, level-triggered (the default) or edge-triggered ("et").
#include <sys/epoll.h>

#include <string_view>
#include <vector>

#include "bench/sockets.h"

namespace {

using bench::must;

constexpr size_t kBatch = 256;
constexpr int kAccepts = 64;  // in a row; level-triggered epoll tells again of what is left

// Bytes the kernel did not take. Nothing is read while there are some.
struct Rest {
  std::byte* bytes = nullptr;
  uint32_t size = 0;
  uint32_t sent = 0;
};

class Server {
 public:
  explicit Server(bool edge) : edge_(edge) {
    bench::announce(listener_);
    epoll_event event{.events = EPOLLIN, .data = {.fd = listener_}};
    must(::epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event), "epoll_ctl");
  }

  void run() {
    epoll_event events[kBatch];
    for (;;) {
      const int count = ::epoll_wait(epoll_, events, kBatch, -1);
      for (int i = 0; i < count; ++i) {
        const int fd = events[i].data.fd;
        fd == listener_ ? acceptSome() : edge_ ? onEdge(fd, events[i].events) : onLevel(fd);
      }
    }
  }

 private:
  // full: there may be more; part: a short read; none: there was nothing; rest: the peer is slow.
  enum class Got { full, part, none, rest, gone };

  void acceptSome() {
    for (int i = 0; i < kAccepts; ++i) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      if (rests_.size() <= static_cast<size_t>(fd)) rests_.resize(static_cast<size_t>(fd) * 2 + 64);
      const uint32_t interest = edge_ ? EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET : EPOLLIN;
      watch(EPOLL_CTL_ADD, fd, interest);
    }
  }

  void watch(int operation, int fd, uint32_t interest) {
    epoll_event event{.events = interest, .data = {.fd = fd}};
    must(::epoll_ctl(epoll_, operation, fd, &event), "epoll_ctl");
  }

  // Reads once and sends it back.
  Got echo(int fd) {
    const ssize_t size = ::recv(fd, buffer_.get(), bench::kBuffer, 0);
    if (size < 0 && errno == EAGAIN) return Got::none;
    if (size <= 0) return close(fd);
    ssize_t sent = ::send(fd, buffer_.get(), static_cast<size_t>(size), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return close(fd);
    if (sent < 0) sent = 0;
    if (sent == size) return static_cast<size_t>(size) < bench::kBuffer ? Got::part : Got::full;
    const size_t left = static_cast<size_t>(size - sent);
    auto* bytes = static_cast<std::byte*>(std::malloc(left));
    std::memcpy(bytes, buffer_.get() + sent, left);
    restOf(fd) = {bytes, static_cast<uint32_t>(left), 0};
    return Got::rest;
  }

  // The same for what is left.
  Got flush(int fd) {
    Rest& rest = restOf(fd);
    const ssize_t sent = ::send(fd, rest.bytes + rest.sent, rest.size - rest.sent, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? Got::rest : close(fd);
    rest.sent += static_cast<uint32_t>(sent);
    if (rest.sent < rest.size) return Got::rest;
    std::free(rest.bytes);
    rest = {};
    return Got::full;
  }

  void onLevel(int fd) {
    if (restOf(fd).bytes == nullptr) {
      if (echo(fd) == Got::rest) watch(EPOLL_CTL_MOD, fd, EPOLLOUT);
    } else if (flush(fd) == Got::full) {
      watch(EPOLL_CTL_MOD, fd, EPOLLIN);
    }
  }

  void onEdge(int fd, uint32_t ready) {
    // An end that is there already gives no second edge, so behind it a short read is not the last.
    const bool ending = (ready & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    if (restOf(fd).bytes != nullptr) {
      if ((ready & EPOLLOUT) == 0 || flush(fd) != Got::full) return;
    } else if ((ready & EPOLLIN) == 0 && !ending) {
      return;
    }
    for (;;) {
      const Got got = echo(fd);
      if (got != Got::full && (got != Got::part || !ending)) return;
    }
  }

  Got close(int fd) {
    std::free(restOf(fd).bytes);
    restOf(fd) = {};
    ::close(fd);
    return Got::gone;
  }

  Rest& restOf(int fd) { return rests_[static_cast<size_t>(fd)]; }

  const bool edge_;
  const int epoll_ = must(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const int listener_ = bench::listenOnLoopback();
  bench::Block buffer_ = bench::makeBuffer();
  std::vector<Rest> rests_;  // by descriptor
};

}  // namespace

int main(int argc, char** argv) {
  bench::prepare();
  Server(argc > 1 && std::string_view(argv[1]) == "et").run();
}
