// warren's echo server; with a certificate and a key it speaks TLS. `server_warren [CERT KEY]`
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

int main(int argc, char** argv) {
  bench::prepare();
  warren::Reactor reactor;
  warren::TlsSetting tls;
  if (argc > 2) tls = {{.key = warren::file(argv[2]), .cert = warren::file(argv[1])}};
  const auto listener =
      reactor
          .listen<>({.hostname = "127.0.0.1",
                     .port = 0,
                     .socket = {.data = echo, .drain = [](Socket<> socket) { socket.resume(); }},
                     .backlog = bench::kBacklog,
                     .tls = tls})
          .value();
  const int fd = listener.descriptors().front();
  bench::useReno(fd);
  bench::announce(fd);
  return reactor.run();
}
