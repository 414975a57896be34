#include "stress/server.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "support/certificates.h"
#include "support/net.h"

namespace stress {
namespace {

using namespace std::chrono_literals;
using warren::Bytes;
using warren::Error;
using warren::Socket;

constexpr int kPatience = kSanitized ? 120 : 40;  // seconds

void give(int channel, const void* bytes, size_t size) {
  if (::write(channel, bytes, size) != static_cast<ssize_t>(size)) std::exit(1);
}

warren::TlsSetting serverTls() {
#if WARREN_TLS
  const warren::test::Identity& leaf = warren::test::testLeaf();
  return {{.key = leaf.key, .cert = leaf.cert}};
#else
  fail("no TLS in this build");
#endif
}

void countClose(Counts& counts, const Error& error) {
  ++counts.closes;
  if (!error) {
    ++counts.clean;
  } else if (error.isErrno(ECONNRESET) || error.isErrno(EPIPE)) {
    ++counts.resets;
  } else if (error.isErrno(ETIMEDOUT)) {
    ++counts.timeouts;
  } else if (error.origin() == warren::Origin::tls) {
    ++counts.tls;
  } else {
    fail("a socket was closed with: %s", error.message().c_str());
  }
}

// A server that cannot end says what keeps it.
void endWithin(Service& service, int seconds) {
  service.reactor
      .after(std::chrono::seconds(seconds),
             [&service] { fail("still awake:\n%s", service.reactor.dump().c_str()); })
      .value()
      .unref();
}

void stopAll(Service& service) {
  service.stopping = true;
  for (const warren::ListenerHandle& listener : service.listeners) listener.stop();
  for (const warren::Timer& timer : service.timers) timer.cancel();
  endWithin(service, kPatience / 2);
}

void serve(const std::function<void(Service&)>& fill, int channel) {
  Service service;
  warren::Reactor& reactor = service.reactor;
  reactor
      .onSignal(SIGUSR1,
                [&service, channel] {
                  const Report report{service.reactor.stats(), service.counts};
                  give(channel, &report, sizeof report);
                })
      .value();
  reactor.onSignal(SIGTERM, [&service] { stopAll(service); }).value();
  const size_t descriptors = warren::test::openDescriptors();
  fill(service);
  std::array<uint16_t, 4> ports{};
  for (size_t i = 0; i < service.listeners.size(); ++i) {
    ports.at(i) = static_cast<uint16_t>(service.listeners[i].port());
  }
  give(channel, &ports, sizeof ports);
  reactor.run();

  const Report report{reactor.stats(), service.counts};
  const size_t left = warren::test::openDescriptors();
  if (left != descriptors) fail("%zu descriptors, and %zu at the end", descriptors, left);
  if (report.stats.sockets != 0) fail("%zu sockets at the end", report.stats.sockets);
  if (report.counts.opens != report.counts.closes) {
    fail("open was called %zu times, close %zu times", size_t{report.counts.opens},
         size_t{report.counts.closes});
  }
  give(channel, &report, sizeof report);
}

}  // namespace

warren::SocketHandlers<> Service::counted(warren::SocketHandlers<> handlers) {
  handlers.open = [this](Socket<>) { ++counts.opens; };
  handlers.close = [this](Socket<>, const Error& error) { countClose(counts, error); };
  return handlers;
}

warren::ListenOptions<> Service::options(bool tls, warren::SocketHandlers<> handlers) {
  warren::ListenOptions<> options{
      .hostname = "127.0.0.1", .port = 0, .socket = counted(std::move(handlers)), .backlog = 4096};
  if (tls) options.tls = serverTls();
  options.acceptError = [this](const Error&) { ++counts.acceptErrors; };
  return options;
}

warren::Listener<> Service::listen(warren::ListenOptions<> options) {
  const auto listener = reactor.listen(std::move(options)).value();
  listeners.push_back(listener);
  return listener;
}

void Service::every(warren::Duration period, warren::Callback<> function) {
  timers.push_back(reactor.every(period, std::move(function)).value());
}

warren::SocketHandlers<> echo() {
  return {.data =
              [](Socket<> socket, Bytes bytes) {
                if (socket.number() % 2 == 0) {
                  const std::ptrdiff_t taken = socket.write(bytes);
                  if (taken < 0 || taken == std::ssize(bytes)) return;
                  socket.send(bytes.subspan(static_cast<size_t>(taken)));
                  socket.pause();
                } else if (!socket.send(bytes)) {
                  socket.pause();
                }
              },
          .drain = [](Socket<> socket) { socket.resume(); }};
}

pid_t spawn(const std::function<void()>& body) {
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  const pid_t child = must(::fork(), "fork");
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() == parent) body();
  std::exit(0);
}

int await(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Server::Server(const std::function<void(Service&)>& fill) {
  int ends[2];
  must(::pipe(ends), "pipe");
  pid_ = spawn([&] {
    ::close(ends[0]);
    serve(fill, ends[1]);
  });
  ::close(ends[1]);
  channel_ = ends[0];
  if (::read(channel_, &ports_, sizeof ports_) != sizeof ports_) fail("the server did not start");
}

Server::~Server() {
  ::close(channel_);
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  await(pid_);
}

Report Server::read() {
  pollfd waiting{.fd = channel_, .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, kPatience * 1000) <= 0) fail("the server does not answer");
  Report report;
  if (::read(channel_, &report, sizeof report) != sizeof report) fail("the server is gone");
  return report;
}

Report Server::ask() {
  ::kill(pid_, SIGUSR1);
  return read();
}

Report Server::finish() {
  ::kill(pid_, SIGTERM);
  const Report report = read();
  const int code = await(std::exchange(pid_, -1));
  if (code != 0) fail("the server ended with code %d", code);
  return report;
}

}  // namespace stress
