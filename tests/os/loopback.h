// Sockets on loopback for the tests of this floor: ephemeral ports, folders of their own.
#pragma once

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>  // mkdtemp on macOS

#include <array>
#include <filesystem>
#include <string>
#include <string_view>

#include "os/address.h"
#include "os/fd.h"
#include "os/sys.h"
#include "support/catch.h"

namespace warren::os {

// Longer than anything here takes, so only a lost event can reach it.
constexpr int kPatienceMs = 20000;

// An empty folder that goes with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder() { REQUIRE(mkdtemp(path_.data()) != nullptr); }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/warrenXXXXXX";
};

inline Address loopback(Family family, uint16_t port = 0) {
  return *parseAddress(family == Family::ipv6 ? "::1" : "127.0.0.1", port);
}

// The descriptor of an answer that must be one.
inline Fd fdOf(sys::Answer answer) {
  REQUIRE(answer >= 0);
  return Fd(static_cast<int>(answer));
}

// Waits until there is one of `events`: of poll(2) on the real kernel, on the simulated one at once.
void await(const Fd& fd, short events);

// A listening socket and the way to it.
class Server {
 public:
  explicit Server(Family family, int backlog = 16)
      : family_(family), fd_(fdOf(sys::socket(family))) {
    if (family == Family::unix) {
      REQUIRE(sys::bindUnix(fd_.get(), path()) == 0);
    } else {
      REQUIRE(sys::bind(fd_.get(), loopback(family), {}) == 0);
    }
    REQUIRE(sys::listen(fd_.get(), backlog) == 0);
  }

  const Fd& fd() const { return fd_; }
  std::string path() const { return folder_.path() + "/server"; }
  Address address() const { return sys::localAddress(fd_.get()); }

  // A client whose connect has succeeded.
  Fd connect() const {
    Fd client = fdOf(sys::socket(family_));
    const sys::Answer answer = family_ == Family::unix ? sys::connectUnix(client.get(), path())
                                                       : sys::connect(client.get(), address());
    if (answer != 0) {
      REQUIRE(answer == -EINPROGRESS);
      await(client, POLLOUT);
      REQUIRE(sys::pendingError(client.get()) == 0);
    }
    return client;
  }

  Fd accept() const {
    Address peer;
    return accept(peer);
  }
  Fd accept(Address& peer) const {
    await(fd_, POLLIN);
    return fdOf(sys::accept(fd_.get(), peer));
  }

 private:
  Family family_;
  TemporaryFolder folder_;
  Fd fd_;
};

// Two ends of one connection.
struct Pair {
  explicit Pair(Family family) {
    const Server server(family);
    far = server.connect();
    near = server.accept();
  }
  Fd near;
  Fd far;
};

inline void sendAll(const Fd& fd, std::string_view text) {
  REQUIRE(sys::send(fd.get(), asBytes(text)) == static_cast<sys::Answer>(text.size()));
}

// Sends until there is no room; returns how much was taken.
inline size_t sendUntilBlocked(const Fd& fd) {
  const std::string block(65536, 'x');
  size_t taken = 0;
  for (;;) {
    const sys::Answer sent = sys::send(fd.get(), asBytes(block));
    if (sys::blocked(sent)) return taken;
    REQUIRE(sent > 0);
    taken += static_cast<size_t>(sent);
  }
}

// Reads what is there, until there is nothing or the end.
inline std::string receiveAll(const Fd& fd) {
  std::string received;
  std::array<std::byte, 65536> block;
  for (;;) {
    const sys::Answer count = sys::recv(fd.get(), block);
    if (count <= 0) return received;
    received += asText(Bytes(block).first(static_cast<size_t>(count)));
  }
}

// False where the machine has no IPv6.
inline bool hasIpv6() {
  const sys::Answer made = sys::socket(Family::ipv6);
  if (made < 0) return false;
  const Fd fd(static_cast<int>(made));
  return sys::bind(fd.get(), loopback(Family::ipv6), {}) == 0;
}

}  // namespace warren::os
