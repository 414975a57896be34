// Data, handler tables and the properties of sockets.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>

#include "conformance/stage.h"
#include "os/platform.h"

namespace warren::conformance {
namespace {

using namespace std::chrono_literals;
using test::TempDir;

const Json kNoValue = "undefined";

// --- data --------------------------------------------------------------------------------------------

SCENARIO_TEST("data-echo", "Echo of one message") {
  Stage stage("data-echo");
  stage.pair(stage.complete("server", {.data =
                                           [&](Actor socket, Bytes chunk) {
                                             stage.does("server", "write(chunk)",
                                                        [&] { return socket.write(chunk); });
                                           }}),
             stage.complete("client", {.data = [&](Actor, Bytes) { stage.close("client"); }}));
  stage.write("client", "hello");
  stage.conforms();
}

SCENARIO_TEST("data-binary-types", "Type of the chunk handed to the data handler") {
  Stage stage("data-binary-types");
  Table server{.data = [&](Actor, Bytes chunk) {
    stage.note("default", "chunk", {{"type", "Bytes"}, {"bytes", chunk.size()}});
  }};
  stage.pair(server, {.data = [](Actor, Bytes) {}});
  stage["client"].send("abc");
  stage.conforms();
}

SCENARIO_TEST("data-largest-chunk", "Largest chunk of one data event") {
  Stage stage("data-largest-chunk");
  const std::vector<std::byte>& given = bytes(3 * kMiB);
  size_t largest = 0;
  std::vector<std::byte> received;
  stage.listen(stage.complete("server", {.open = [](Actor socket) { socket.pause(); },
                                         .data =
                                             [&](Actor, Bytes chunk) {
                                               largest = std::max(largest, chunk.size());
                                               received.insert(received.end(), chunk.begin(),
                                                               chunk.end());
                                             }}));
  size_t taken = 0;
  const auto sendRest = [&](Actor socket) {
    const std::ptrdiff_t count = socket.write(Bytes(given).subspan(taken));
    if (count > 0) taken += static_cast<size_t>(count);
  };
  stage.join("client", {.data = [](Actor, Bytes) {}, .drain = sendRest});
  sendRest(stage["client"]);
  stage.quiet();
  stage.resume("server");
  stage.until([&] { return received.size() == given.size(); });
  stage.note("server", "no chunk larger than 524288", largest <= 524288);
  stage.note("server", "some chunk of exactly 524288", largest == 524288);
  stage.note("server", "bytes intact", received == given);
  stage.conforms();
}

SCENARIO_TEST("data-write-in-open-before-accept", "Both sides write inside open") {
  Stage stage("data-write-in-open-before-accept");
  const auto greets = [&](const std::string& who) {
    return Table{.open = [&stage, who](Actor) { stage.write(who, "from " + who); }};
  };
  stage.pair(stage.complete("server", greets("server")),
             stage.complete("client", greets("client")));
  stage["client"].close();
  stage.conforms();
}

// --- handlers ----------------------------------------------------------------------------------------

SCENARIO_TEST("handlers-shared-table", "One handler table shared by a server and its client") {
  Stage stage("handlers-shared-table");
  const Table server = stage.complete(
      "S", {.data = [](Actor socket, Bytes bytes) { static_cast<void>(socket.write(bytes)); }});
  const Table client = stage.complete("C", {.data = [](Actor socket, Bytes) { socket.close(); }});
  const auto of = [&](Actor socket) -> const Table& {
    return *socket.data() == "S" ? server : client;
  };
  const Table shared{
      .open = [&](Actor socket) { of(socket).open(socket); },
      .data = [&](Actor socket, Bytes bytes) { of(socket).data(socket, bytes); },
      .end = [&](Actor socket) { of(socket).end(socket); },
      .close = [&](Actor socket, const Error& error) { of(socket).close(socket, error); },
  };
  stage.pair(shared, shared, {.data = context("S")}, {.data = context("C")});
  REQUIRE(stage["C"].write("x") == 1);
  stage.conforms();
}

SCENARIO_TEST("handlers-missing-data", "A table with only a drain handler still reads") {
  Stage stage("handlers-missing-data");
  Table server = stage.complete("server");
  server.data = {};
  size_t taken = 0;
  const auto sendRest = [&](Actor socket) {
    const std::ptrdiff_t count = socket.write(Bytes(bytes(kMiB)).subspan(taken));
    if (count > 0) taken += static_cast<size_t>(count);
  };
  Table client = stage.complete("client");
  client.drain = sendRest;
  stage.pair(server, client);
  sendRest(stage["client"]);
  stage.until([&] { return taken == kMiB; });
  stage.note("client", "all bytes written");
  stage.end("client");
  stage.conforms();
}

SCENARIO_TEST("handlers-context-in-open", "Context set in open is seen by later handlers") {
  Stage stage("handlers-context-in-open");
  stage.pair(stage.complete("server", {.open =
                                           [](Actor socket) {
                                             socket.data() = context({{"id", "abcd"}});
                                           },
                                       .data =
                                           [&](Actor socket, Bytes) {
                                             const std::string id = (*socket.data())["id"];
                                             stage.does("server", "write(context.id + \": ack\")",
                                                        [&] { return socket.write(id + ": ack"); });
                                           },
                                       .close =
                                           [&](Actor socket, const Error&) {
                                             stage.note("server", "context", *socket.data());
                                           }}),
             stage.complete("client", {.data = [](Actor socket, Bytes) { socket.close(); }}));
  stage.write("client", "hi");
  stage.conforms();
}

// --- properties --------------------------------------------------------------------------------------

Json family(const Address& address) {
  if (address.family() == Family::ipv4) return "IPv4";
  return address.family() == Family::ipv6 ? Json("IPv6") : kNoValue;
}
Json host(const Address& address) {
  return address.host().empty() ? kNoValue : Json(address.host());
}
Json port(const Address& address) { return address.port() == 0 ? kNoValue : Json("number"); }

Json addresses(Actor socket) {
  const Address remote = socket.remoteAddress();
  const Address local = socket.localAddress();
  return {{"remoteFamily", family(remote)}, {"remoteAddress", host(remote)},
          {"remotePort", port(remote)},     {"localFamily", family(local)},
          {"localAddress", host(local)},    {"localPort", port(local)}};
}

SCENARIO_TEST("address-properties", "Addresses and ports of both sides, before and after close") {
  Stage stage("address-properties");
  bool first = true;
  const auto inClose = [&](const std::string& who) {
    return Table{.close = [&, who](Actor socket, const Error&) {
      if (first) stage.note(who, "in close", addresses(socket));
    }};
  };
  const Host host = stage.pair(stage.complete("server", inClose("server")),
                               stage.complete("client", inClose("client")));
  const Actor client = stage["client"];
  const Actor server = stage["server"];
  stage.note("client", "open", addresses(client));
  stage.note("server", "open", addresses(server));
  stage.note(
      "both", "client.remotePort = server.localPort = listener.port",
      client.remoteAddress().port() == host.port() && server.localAddress().port() == host.port());
  stage.note("both", "client.localPort = server.remotePort",
             client.localAddress().port() == server.remoteAddress().port());
  client.close();
  stage.quiet();
  stage.note("client", "after close", addresses(client));
  stage.note("server", "after close", addresses(server));
  first = false;
  // The reference no longer notes what the second pair does but open.
  Table silentClient = stage.complete("client2");
  silentClient.close = {};
  const Actor second = stage.join("client2", silentClient);
  Table silentServer = stage.complete("server");
  silentServer.end = {};
  silentServer.close = {};
  REQUIRE(host.reload(silentServer));
  second.close();
  stage.quiet();
  stage.note("client2", "after close, never read before", addresses(second));
  stage.conforms();
}

SCENARIO_TEST("listener-property", "The socket's link to its listener") {
  Stage stage("listener-property");
  const Host host = stage.pair(stage.complete("server"), [&] {
    Table client = stage.complete("client");
    client.end = {};
    client.close = {};
    return client;
  }());
  const Actor client = stage["client"];
  const Actor server = stage["server"];
  stage.note("client", "listener", client.listener() == Host() ? kNoValue : Json("a listener"));
  stage.note("server", "listener is the listener", server.listener() == host);
  stage.does("listener", "stop()", [&] { host.stop(); });
  stage.note("server", "listener is the listener, after stop", server.listener() == host);
  server.close();
  stage.note("server", "listener, after close",
             server.listener() == Host() ? kNoValue : Json("a listener"));
  stage.conforms();
}

SCENARIO_TEST("ready-state-stages", "Ready state at each stage") {
  Stage stage("ready-state-stages");
  stage.pair(stage.complete("server", {.data =
                                           [&](Actor, Bytes) {
                                             stage.end("server", "b");
                                             stage.readyState("server", "readyState after end");
                                           }}),
             stage.complete("client"));
  stage.readyState("client");
  stage.write("client", "a");
  stage.quiet();
  stage.readyState("client", "readyState at the end");
  stage.readyState("server", "readyState at the end");
  stage.conforms();
}

SCENARIO_TEST("socket-options", "setNoDelay and setKeepAlive return values") {
  const TempDir directory;
  Stage stage("socket-options");
  const auto client = [&] {
    Table table = stage.complete("client");
    table.close = {};
    return table;
  };
  const auto server = [&] {
    Table table = stage.complete("server");
    table.end = {};
    table.close = {};
    return table;
  };
  stage.pair(server(), client());
  const Actor socket = stage["client"];
  const auto sets = [&](const std::string& what, auto call) { stage.does("client", what, call); };
  sets("setNoDelay()", [&] { return socket.setNoDelay(); });
  sets("setNoDelay(true)", [&] { return socket.setNoDelay(true); });
  sets("setNoDelay(false)", [&] { return socket.setNoDelay(false); });
  sets("setKeepAlive()", [&] { return socket.setKeepAlive(); });
  sets("setKeepAlive(true)", [&] { return socket.setKeepAlive(true); });
  sets("setKeepAlive(true, 1000)", [&] { return socket.setKeepAlive(true, 1000ms); });
  sets("setKeepAlive(true, 500)", [&] { return socket.setKeepAlive(true, 500ms); });
  sets("setKeepAlive(true, -1)", [&] { return socket.setKeepAlive(true, -1ms); });
  sets("setKeepAlive(false)", [&] { return socket.setKeepAlive(false); });

  stage.listen({.data = [](Actor, Bytes) {}}, {.unix = directory.path("socket")});
  const Actor local = stage.join("unix client", {.data = [](Actor, Bytes) {}});
  stage.does("unix client", "setNoDelay(true)", [&] { return local.setNoDelay(true); });
  stage.does("unix client", "setKeepAlive(true)", [&] { return local.setKeepAlive(true); });

  socket.close();
  sets("setNoDelay(true)", [&] { return socket.setNoDelay(true); });
  sets("setKeepAlive(true)", [&] { return socket.setKeepAlive(true); });
  stage.conforms();
}

#if WARREN_LINUX
int option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof(value);
  return ::getsockopt(fd, level, name, &value, &size) == 0 ? value : -1;
}

// This process's TCP sockets.
std::vector<int> tcpSockets() {
  std::vector<int> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::stoi(entry.path().filename().string());
    if (option(fd, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP) found.push_back(fd);
  }
  return found;
}

SCENARIO_TEST("nodelay-default", "Whether TCP_NODELAY is on by default (seen from the kernel)") {
  Stage stage("nodelay-default");
  const std::vector<int> before = tcpSockets();
  stage.pair({.data = [](Actor, Bytes) {}}, {.data = [](Actor, Bytes) {}});
  int noDelay = 0;
  bool reuseAddress = false;
  bool reusePort = false;
  bool keepAlive = false;
  unsigned backlog = 0;
  for (const int fd : tcpSockets()) {
    if (std::find(before.begin(), before.end(), fd) != before.end()) continue;
    keepAlive = keepAlive || option(fd, SOL_SOCKET, SO_KEEPALIVE) == 1;
    reusePort = reusePort || option(fd, SOL_SOCKET, SO_REUSEPORT) == 1;
    if (option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1) {
      reuseAddress = option(fd, SOL_SOCKET, SO_REUSEADDR) == 1;
      tcp_info info{};
      socklen_t size = sizeof(info);
      REQUIRE(::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0);
      backlog = info.tcpi_sacked;  // of a listening socket: the size of its queue
    } else if (option(fd, IPPROTO_TCP, TCP_NODELAY) == 1) {
      ++noDelay;
    }
  }
  stage.note("kernel", "sockets with TCP_NODELAY set", noDelay);
  stage.note("kernel", "SO_REUSEADDR set", reuseAddress);
  stage.note("kernel", "SO_REUSEPORT set", reusePort);
  stage.note("kernel", "SO_KEEPALIVE set", keepAlive);
  stage.note("kernel", "listen backlog", backlog);
  stage.conforms();
}
#endif

}  // namespace
}  // namespace warren::conformance
