// warren's echo server.
#include <warren/warren.h>

#include "bench/sockets.h"

namespace {

using warren::Bytes;
using warren::Socket;

constexpr auto echo = [](Socket<> socket, Bytes bytes) {
  const std::ptrdiff_t taken = socket.write(bytes);
  if (taken < 0 || taken == std::ssize(bytes)) return;
  socket.pause();
  socket.send(bytes.subspan(static_cast<size_t>(taken)));
};

}  // namespace

int main() {
  bench::prepare();
  warren::Reactor reactor;
  const auto listener =
      reactor
          .listen<>({.hostname = "127.0.0.1",
                     .port = 0,
                     .socket = {.data = echo, .drain = [](Socket<> socket) { socket.resume(); }},
                     .backlog = bench::kBacklog})
          .value();
  const int fd = listener.descriptors().front();
  bench::useReno(fd);
  bench::announce(fd);
  return reactor.run();
}
