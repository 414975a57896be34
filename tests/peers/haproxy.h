// An HAProxy as the child of a test.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "support/child.h"
#include "support/net.h"

namespace warren::test {

// An HAProxy in front of a server on 127.0.0.1. It takes over a socket that listens already, so
// clients may come before it is up.
class Haproxy {
 public:
  Haproxy(const std::string& program, uint16_t server, const std::string& how) {
    RawSocket listening = RawSocket::listenTcp();
    port_ = listening.port();
    const int fd = listening.release();
    ::fcntl(fd, F_SETFD, 0);  // the child inherits it
    std::ofstream(dir_.path("haproxy.cfg"))
        << "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 10s\n  timeout server "
           "10s\n"
        << "listen front\n  bind fd@" << fd << "\n  server back 127.0.0.1:" << server << " " << how
        << "\n";
    child_.emplace(std::vector<std::string>{program, "-db", "-q", "-f", dir_.path("haproxy.cfg")});
    ::close(fd);
  }
  uint16_t port() const { return port_; }

 private:
  TempDir dir_;
  uint16_t port_ = 0;
  std::optional<Child> child_;
};

}  // namespace warren::test
