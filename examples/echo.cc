// An echo server: every byte goes back to where it came from.
#include <warren/warren.h>

#include <csignal>
#include <deque>
#include <future>
#include <vector>

#include "options.h"

// What a socket refused. Nothing more is read until it is gone: it is one receive buffer at most.
using Rest = std::vector<std::byte>;

constexpr auto echo = [](warren::Socket<Rest> socket, warren::Bytes bytes) {
  const std::ptrdiff_t taken = socket.write(bytes);
  if (taken < 0 || taken == std::ssize(bytes)) return;
  socket.data().assign(bytes.begin() + taken, bytes.end());
  socket.pause();
};

constexpr auto echoRest = [](warren::Socket<Rest> socket) {
  const Rest rest = std::exchange(socket.data(), {});
  socket.resume();
  echo(socket, rest);
};

struct Server {
  warren::Reactor reactor;
  warren::Listener<Rest> listener;

  void finish() {  // open connections have a second; without any, `run` returns by itself
    listener.stop();
    reactor.after(std::chrono::seconds(1), [this] { reactor.stop(); }).value().unref();
  }
};

int main(int argc, char** argv) {
  Options options(argc, argv,
                  "echo [--host H --port P --threads N --reuse-port | --unix PATH] [--backlog N]"
                  " [--proxy NETWORK] [--cert FILE --key FILE [--ca FILE --request-cert]]");
  const std::string path = options.text("--unix", "");
  warren::ListenOptions<Rest> listen{.unix = path, .socket = {.data = echo, .drain = echoRest}};
  if (path.empty()) {
    listen.hostname = options.text("--host", "localhost");
    listen.port = options.number("--port", 8080, 0, 65535);
  }
  const int threads = options.number("--threads", 1, 1, WARREN_THREADS && path.empty() ? 1024 : 1);
  listen.reusePort = options.flag("--reuse-port") || threads > 1;
  listen.tls = options.serverTls();
  listen.backlog = options.number("--backlog", listen.backlog, 1);
  if (const std::string proxy = options.text("--proxy", ""); !proxy.empty())
    listen.proxyProtocol = {.trusted = {proxy}};  // clients come through it, and only through it
  options.finish();

  std::deque<Server> servers(static_cast<size_t>(threads));
  for (Server& server : servers) {
    const auto listener = server.reactor.listen(listen);
    if (!listener) return options.failed(listener.error().message());
    server.listener = *listener;
    if (listen.port) listen.port = listener->port();  // 0 becomes what the first one was given
  }

  const warren::Callback<> finish = [&] {  // a second signal is not caught: it ends the process
    for (const int signal : {SIGINT, SIGTERM}) servers[0].reactor.onSignal(signal, {}).value();
    for (Server& server : servers) server.reactor.post([&] { server.finish(); });
  };
  for (const int signal : {SIGINT, SIGTERM}) servers[0].reactor.onSignal(signal, finish).value();

  for (const warren::Address& address : servers[0].listener.addresses()) {
    std::printf("listening on %s\n", (path.empty() ? address.text() : "unix " + path).c_str());
  }
  std::fflush(stdout);
#if WARREN_THREADS
  std::vector<std::future<int>> others;  // waits for them when it dies
  for (size_t at = 1; at < servers.size(); ++at)
    others.push_back(std::async(std::launch::async, &warren::Reactor::run, &servers[at].reactor));
#endif
  return servers[0].reactor.run();
}
