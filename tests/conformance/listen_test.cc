// Listening: ports, hosts, paths, options, contexts.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "conformance/stage.h"

namespace warren::conformance {
namespace {

using test::TempDir;

const Json kNoValue = "undefined";

Json orNothing(const std::string& text) { return text.empty() ? kNoValue : Json(text); }
Json orNothing(int number) { return number == 0 ? kNoValue : Json(number); }
Json family(const Address& address) {
  if (address.family() == Family::ipv4) return "IPv4";
  return address.family() == Family::ipv6 ? Json("IPv6") : kNoValue;
}
Json value(const Context& context) { return context == nullptr ? kNoValue : *context; }

Table reader() {
  return {.data = [](Actor, Bytes) {}};
}

// A socket file whose process is gone.
void leaveStaleSocket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  REQUIRE(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(::listen(fd, 1) == 0);
  ::close(fd);
}

SCENARIO_TEST("listen-port-zero", "Listening on port 0 picks a port and reports it") {
  Stage stage("listen-port-zero");
  const Host host = stage.listen(stage.complete("server"));
  const int port = host.port();
  stage.note("listener", "port is in 1..65535", port >= 1 && port <= 65535);
  stage.note("listener", "hostname", host.hostname());
  stage.note("listener", "unix", orNothing(host.unixPath()));
  stage.join("client", stage.complete("client"));
  stage.close("client");
  stage.quiet();
  stage.does("listener", "stop()", [&] { host.stop(); });
  stage.note("listener", "port after stop is unchanged", host.port() == port);
  stage.note("listener", "hostname after stop", host.hostname());
  stage.conforms();
}

SCENARIO_TEST("listen-unix", "Unix socket listener") {
  const TempDir directory;
  const std::string path = directory.path("a.sock");
  Stage stage("listen-unix");
  const Host host =
      stage.listen(stage.complete("server", {.data = [](Actor socket, Bytes) { socket.end(); }}),
                   {.unix = path});
  stage.note("listener", "unix", host.unixPath() == path ? "<tmp>/a.sock" : host.unixPath());
  stage.note("listener", "hostname", orNothing(host.hostname()));
  stage.note("listener", "port", orNothing(host.port()));
  stage.note("path", "is a socket", std::filesystem::is_socket(path));
  const Actor client = stage.join("client", stage.complete("client"), {.unix = path});
  const Address remote = client.remoteAddress();
  const Address local = client.localAddress();
  stage.note("client", "remoteFamily", family(remote));
  stage.note("client", "remoteAddress", orNothing(remote.host()));
  stage.note("client", "remotePort", orNothing(remote.port()));
  stage.note("client", "localFamily", family(local));
  stage.note("client", "localAddress", orNothing(local.host()));
  stage.note("client", "localPort", orNothing(local.port()));
  stage.write("client", "hi");
  stage.quiet();
  stage.does("listener", "stop()", [&] { host.stop(); });
  stage.note("path", "exists after stop", std::filesystem::exists(path));
  stage.conforms();
}

SCENARIO_TEST("listen-unix-path-is-file",
              "Unix path taken by a plain file, and by a stale socket") {
  const TempDir directory;
  Stage stage("listen-unix-path-is-file");
  const auto listens = [&](const std::string& what, const std::string& path) {
    static_cast<void>(
        stage.listens("listener", "listen(" + what + ")", {.unix = path, .socket = reader()}));
  };
  const std::string file = directory.path("f");
  std::ofstream(file) << "content";
  listens("plain file", file);
  stage.note("path", "plain file still a plain file", std::filesystem::is_regular_file(file));
  const std::string stale = directory.path("stale");
  leaveStaleSocket(stale);
  stage.note("path", "stale socket exists", std::filesystem::is_socket(stale));
  listens("stale socket", stale);
  REQUIRE(std::filesystem::is_socket(stale));
  listens("missing directory", directory.path("no/such/dir/x.sock"));
  listens("200 character path", directory.path(std::string(200, 'z')));
  listens("empty path", "");
  stage.conforms();
}

SCENARIO_TEST("listen-port-in-use", "Port already in use") {
  Stage stage("listen-port-in-use");
  const Host a = stage.listen(reader());
  const int port = a.port();
  const auto listens = [&](const std::string& what, bool exclusive) {
    static_cast<void>(stage.listens(
        "B", what,
        {.hostname = "127.0.0.1", .port = port, .socket = reader(), .exclusive = exclusive}));
  };
  listens("listen(A's port)", false);
  listens("listen(A's port, exclusive)", true);
  stage.does("A", "stop()", [&] { a.stop(); });
  listens("listen(A's port)", false);
  stage.conforms();
}

SCENARIO_TEST("listen-bad-hostname", "Hostnames that cannot be listened on") {
  Stage stage("listen-bad-hostname");
  for (const std::string host :
       {"no.such.host.invalid", "256.1.1.1", "", "127.0.0.1 ", "192.0.2.1"}) {
    static_cast<void>(stage.listens("listener", "listen(\"" + host + "\")",
                                    {.hostname = host, .port = 0, .socket = reader()}));
  }
  static_cast<void>(
      stage.listens("listener", "listen(no hostname)", {.port = 0, .socket = reader()}));
  stage.conforms();
}

SCENARIO_TEST("listen-invalid-port",
              "Port values outside 0..65535, and values that are not numbers") {
  Stage stage("listen-invalid-port");
  for (const int port : {65536, -1}) {
    static_cast<void>(stage.listens("listener", "listen(port " + std::to_string(port) + ")",
                                    {.hostname = "127.0.0.1", .port = port, .socket = reader()}));
  }
  static_cast<void>(stage.listens("listener", "listen(port missing)",
                                  {.hostname = "127.0.0.1", .socket = reader()}));
  stage.conforms();
}

SCENARIO_TEST("listen-bad-options", "Listen options that are missing or of the wrong type") {
  const TempDir directory;
  Stage stage("listen-bad-options");
  const auto listens = [&](const std::string& what, Table table, Listening options = {}) {
    if (options.unix.empty()) options.hostname = "127.0.0.1";
    options.port = 0;
    options.socket = std::move(table);
    const auto listening = [&]() -> Result<std::string> {
      const Result<Host> host = stage.reactor().listen(options);
      if (!host) return host.error();
      return std::string(host->unixPath().empty() ? "tcp listener" : "unix listener");
    };
    static_cast<void>(stage.does("listener", "listen(" + what + ")", listening));
  };
  static_cast<void>(stage.listens("listener", "listen(empty options)", {}));
  listens("no handler table", {});
  listens("empty handler table", {});
  listens("data is null", {.data = static_cast<void (*)(Actor, Bytes)>(nullptr)});
  listens("only open", {.open = [](Actor) {}});
  listens("only data", reader());
  listens("only close", {.close = [](Actor, const Error&) {}});
  listens("unix and hostname+port", reader(),
          {.hostname = "127.0.0.1", .unix = directory.path("both.sock")});
  stage.conforms();
}

SCENARIO_TEST("listen-data-option", "Context value given in the listen options") {
  Stage stage("listen-data-option");
  const Context option = context({{"tag", 7}});
  const auto seen = [&](const std::string& who, const Context& found) {
    stage.note(who, "context", value(found));
  };
  int accepted = 0;
  const Host host =
      stage.listen(stage.complete("server#", {.open =
                                                  [&](Actor socket) {
                                                    const std::string who =
                                                        "server#" + std::to_string(++accepted);
                                                    seen(who, socket.data());
                                                    stage.note(who, "context is the option object",
                                                               socket.data() == option);
                                                  }}),
                   {.data = option});
  seen("listener", host.data());
  stage.join("client1", stage.complete("client1"));
  stage.join("client2", stage.complete("client2"));

  stage.does("server#1", "context = {tag: 1}", [&] {
    stage["server#1"].data() = context({{"tag", 1}});
  });
  seen("server#1", stage["server#1"].data());
  seen("server#2", stage["server#2"].data());
  seen("listener", host.data());
  stage.does("listener", "context = {tag: 9}", [&] { host.data() = context({{"tag", 9}}); });
  seen("listener", host.data());
  stage.join("client3", stage.complete("client3"));

  Table plain =
      stage.complete("plain", {.open = [&](Actor socket) { seen("plain", socket.data()); }});
  plain.end = {};
  plain.close = {};
  stage.listen(plain);
  Table client =
      stage.complete("client4", {.open = [&](Actor socket) { seen("client4", socket.data()); }});
  client.close = {};
  const Actor last = stage.join("client4", client);
  stage.does("client4", "context = 5", [&] { last.data() = context(5); });
  seen("client4", last.data());
  last.close();
  stage.quiet();
  const Context* const left = last.findData();
  stage.note("client4", "context after close", left == nullptr ? kNoValue : value(*left));
  stage.conforms();
}

SCENARIO_TEST("listen-dual-stack", "Listening on the IPv6 wildcard") {
  Stage stage("listen-dual-stack");
  const auto tries = [&](const std::string& name, const std::string& hostname, bool ipv6Only) {
    const std::string server = "server " + name;
    const Host host = stage.listen(
        stage.complete(server, {.open =
                                    [&stage, server](Actor socket) {
                                      const Address remote = socket.remoteAddress();
                                      stage.note(
                                          server, "remote",
                                          {{"family", family(remote)}, {"address", remote.host()}});
                                    },
                                .end = {}}),
        {.hostname = hostname, .ipv6Only = ipv6Only});
    stage.note("listener " + name, "hostname", host.hostname());
    for (const std::string address : {"127.0.0.1", "::1"}) {
      const std::string client = "client " + name + " via " + address;
      static_cast<void>(stage.connects(
          client, "connect()",
          {.hostname = address, .port = host.port(), .socket = stage.completion(client)}));
      stage.awaits(client, "promise");
    }
  };
  tries("::", "::", false);
  tries(":: ipv6Only", "::", true);
  tries("0.0.0.0", "0.0.0.0", false);
  stage.conforms();
}

}  // namespace
}  // namespace warren::conformance
