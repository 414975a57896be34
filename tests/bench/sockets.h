// Sockets without any library: what the generator and the bare servers stand on, and what every server
// does before and beside its library. A benchmark that cannot go on says why and ends.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace bench {

constexpr size_t kBuffer = size_t{64} << 10;  // what every server reads into, as warren does
constexpr int kBacklog = 4096;

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

template <class Answer>
Answer must(Answer answer, const char* what) {
  if (answer < 0) fail(what);
  return answer;
}

// Page-aligned: see README.md, "Fairness".
struct FreeBlock {
  void operator()(std::byte* block) const { std::free(block); }
};
using Block = std::unique_ptr<std::byte[], FreeBlock>;
inline Block makeBuffer(size_t size = kBuffer) {
  return Block(static_cast<std::byte*>(std::aligned_alloc(4096, size)));
}

inline void setOption(int fd, int level, int name, int value) {
  must(::setsockopt(fd, level, name, &value, sizeof value), "setsockopt");
}

// Congestion control without pacing; accepted sockets inherit it from their listener.
inline void useReno(int fd) {
  must(::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), "TCP_CONGESTION");
}

inline sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// As many descriptors as the system allows, and no end by a peer's: some libraries leave that to us.
inline void prepare() {
  std::signal(SIGPIPE, SIG_IGN);
  rlimit limit{};
  must(::getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  limit.rlim_cur = limit.rlim_max;
  must(::setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
}

inline int portOf(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  must(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
  return ntohs(address.sin_port);
}

// A listener on a port of the system's choice, whose connections inherit all they need.
inline int listenOnLoopback() {
  const int fd = must(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  useReno(fd);
  const sockaddr_in address = loopback(0);
  must(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), "bind");
  must(::listen(fd, kBacklog), "listen");
  return fd;
}

// Tells `run` where the server listens and who it is. It then serves until it is killed.
inline void announce(int listener) {
  std::printf("port %d pid %d\n", portOf(listener), static_cast<int>(::getpid()));
  std::fflush(stdout);
}

}  // namespace bench
