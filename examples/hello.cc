#include <warren/warren.h>

#include <cstdio>

int main() {
  const auto echo = [](auto socket, warren::Bytes bytes) {
    if (!socket.send(bytes)) socket.pause();  // a slow reader: no more input until it has caught up
  };
  const auto resume = [](auto socket) { socket.resume(); };

  warren::Reactor reactor;
  const auto server = reactor.listen<>({
      .hostname = "localhost",
      .port = 8080,
      .socket = {.data = echo, .drain = resume},
  });
  std::fprintf(stderr, "%s\n",
               server ? "try: nc localhost 8080" : server.error().message().c_str());
  return server ? reactor.run() : 1;
}
