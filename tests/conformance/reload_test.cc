// Reloading handler tables.
#include "conformance/stage.h"

namespace warren::conformance {
namespace {

Json value(const Context& context) { return context == nullptr ? Json("undefined") : *context; }

Table reader() {
  return {.data = [](Actor, Bytes) {}};
}

// Of a complete table: open, data and close.
Table brief(Stage& stage, const std::string& who) {
  const Table all = stage.complete(who);
  return {.open = all.open, .data = all.data, .close = all.close};
}

template <class Reloaded>
void reloads(Stage& stage, const std::string& who, const std::string& what, Reloaded target,
             Table table) {
  static_cast<void>(
      stage.does(who, "reload(" + what + ")", [&] { return target.reload(std::move(table)); }));
}

SCENARIO_TEST("reload-server", "Listener reload: existing and new connections") {
  Stage stage("reload-server");
  const Host host = stage.listen(brief(stage, "A"));
  const Actor first = stage.join("client1", reader());
  first.send("1");
  stage.quiet();
  reloads(stage, "listener", "{socket: B}", host, brief(stage, "B"));
  first.send("2");
  stage.quiet();
  const Actor second = stage.join("client2", reader());
  second.send("3");
  stage.quiet();
  first.close();
  second.close();
  stage.conforms();
}

SCENARIO_TEST("reload-missing-handlers", "Handlers that the new table does not have") {
  Stage stage("reload-missing-handlers");
  const Host host = stage.listen(stage.complete("A"));
  const Actor client = stage.join("client", reader());
  reloads(stage, "listener", "{socket: {data}}", host, {.data = stage.complete("B").data});
  client.send("x");
  client.close();
  stage.conforms();
}

SCENARIO_TEST("reload-invalid", "Reload with bad arguments keeps the old table") {
  Stage stage("reload-invalid");
  const Host host = stage.pair(stage.complete("server"), stage.complete("client"));
  const Table onlyOpen{.open = [](Actor) {}};
  reloads(stage, "listener", "{socket: {}}", host, {});
  reloads(stage, "client", "{socket: {}}", stage["client"], {});
  reloads(stage, "listener", "{socket: {open}}", host, onlyOpen);
  reloads(stage, "client", "{socket: {open}}", stage["client"], onlyOpen);
  stage["client"].send("x");
  stage["server"].send("y");
  stage.conforms();
}

SCENARIO_TEST("reload-client", "Socket reload on a client") {
  Stage stage("reload-client");
  const auto table = [&](const std::string& who) {
    const Table all = stage.complete(who);
    return Table{.open = all.open, .data = all.data, .close = all.close};
  };
  std::vector<Actor> servers;
  stage.listen(
      {.open = [&](Actor socket) { servers.push_back(socket); }, .data = [](Actor, Bytes) {}});
  const Actor client = stage.join("client", table("client-A"));
  servers[0].send("1");
  stage.quiet();
  reloads(stage, "client", "{socket: B}", client, table("client-B"));
  servers[0].send("2");
  servers[0].end();
  stage.quiet();
  const Actor second = stage.join("client2", table("client2-A"));
  reloads(stage, "client2", "{data}", second, {.data = stage.complete("client2-B").data});
  servers[1].send("3");
  stage.conforms();
}

SCENARIO_TEST("reload-from-server-socket", "reload called on a server-side socket") {
  Stage stage("reload-from-server-socket");
  stage.listen(brief(stage, "A#"));
  const Actor first = stage.join("client1", reader());
  const Actor second = stage.join("client2", reader());
  reloads(stage, "A#1", "{socket: B}", stage["A#1"], brief(stage, "B"));
  first.send("x");
  stage.quiet();
  stage.note("main", "second client writes");
  second.send("x");
  stage.quiet();
  const Actor third = stage.join("client3", reader());
  stage.note("main", "third client writes");
  third.send("x");
  stage.conforms();
}

SCENARIO_TEST("reload-in-data", "Reload inside the data handler, with more input on the way") {
  Stage stage("reload-in-data");
  Host host;
  host = stage.listen(stage.complete("server", {.data = [&](Actor, Bytes) {
                                       reloads(stage, "listener", "{socket: B}", host,
                                               stage.complete("B"));
                                     }}));
  const Actor client = stage.join("client", stage.complete("client"));
  client.send("1");
  stage.awaits("server", "data");
  client.send("2");
  stage.quiet();
  client.close();
  stage.conforms();
}

SCENARIO_TEST("reload-context", "Reload and the context value") {
  Stage stage("reload-context");
  std::vector<Actor> servers;
  const Table table{.open = [&](Actor socket) { servers.push_back(socket); },
                    .data = [](Actor, Bytes) {}};
  const Host host = stage.listen(table, {.data = context({{"v", 1}})});
  stage.join("client1", reader());
  reloads(stage, "listener", "{socket, data: {v: 2}}", host, table);
  stage.join("client2", reader());
  stage.note("listener", "context", value(host.data()));
  stage.note("server#1", "context", value(servers.at(0).data()));
  stage.note("server#2", "context", value(servers.at(1).data()));
  stage.conforms();
}

}  // namespace
}  // namespace warren::conformance
