// A client: sends each TEXT as a line and prints what comes back, until the server ends.
#include <warren/warren.h>

#include <cstdio>

#include "options.h"

int main(int argc, char** argv) {
  Options options(argc, argv, "client HOST PORT [TEXT...] [--tls [--ca FILE --server-name NAME]]");
  const warren::TlsSetting tls = options.clientTls();
  const std::string host = options.word("HOST");
  const int port = options.numberWord("PORT", 1, 65535);

  warren::Error problem;
  const auto keepProblem = [&problem](auto, const warren::Error& error) { problem = error; };
  const auto print = [](auto, warren::Bytes bytes) {
    std::fwrite(bytes.data(), 1, bytes.size(), stdout);
    std::fflush(stdout);
  };

  warren::Reactor reactor;
  const auto socket = reactor.connect<>({
      .hostname = host,
      .port = port,
      .socket = {.data = print, .close = keepProblem, .connectError = keepProblem},
      .tls = tls,
  });
  if (!socket) return options.failed(socket.error().message());

  // What is sent while it connects goes out afterwards. `shutdown` rather than `end`, which would
  // not wait for an answer longer than the option `linger` says.
  if (!options.empty()) {
    while (!options.empty()) socket->send(options.word("TEXT") + "\n");
    socket->shutdown();
  }
  reactor.run();
  return problem ? options.failed(problem.message()) : 0;
}
