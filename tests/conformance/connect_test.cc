// Connecting: the order of events, refusals, options, contexts.
#include <netdb.h>

#include "conformance/stage.h"

namespace warren::conformance {
namespace {

using test::deadPort;
using test::TempDir;

Json value(const Context& context) { return context == nullptr ? Json("undefined") : *context; }

Table reader() {
  return {.data = [](Actor, Bytes) {}};
}

SCENARIO_TEST("connect-success-order", "Order of open on both sides and the connect promise") {
  Stage stage("connect-success-order");
  stage.promise("client");
  stage.listen(stage.complete("server"));
  Actor opened;
  const Result<Actor> socket = stage.connects(
      "client", "connect()",
      {.hostname = "127.0.0.1",
       .port = stage.host().port(),
       .socket = stage.complete("client", {.open = [&](Actor own) {
                                  opened = own;
                                  stage.note("client", "promise resolved before open returned",
                                             stage.count("client", "promise") > 0);
                                }})});
  stage.awaits("client", "promise");
  stage.note("client", "promise value is the socket given to open", *socket == opened);
  stage.close("client");
  stage.conforms();
}

SCENARIO_TEST("connect-refused", "Connection refused, with a connectError handler") {
  Stage stage("connect-refused");
  stage.promise("client");
  const Result<Actor> socket =
      stage.connects("client", "connect()",
                     {.hostname = "127.0.0.1",
                      .port = deadPort(),
                      .socket = stage.complete("client", {.connectError =
                                                              [&](Actor failed, const Error&) {
                                                                stage.call("client", failed);
                                                                stage.note("client", "context",
                                                                           value(failed.data()));
                                                              }}),
                      .data = context({{"tag", 3}})});
  REQUIRE(socket);
  stage.awaits("client", "promise");
  stage.write("client", "x");
  stage.end("client");
  stage.close("client");
  stage.readyState("client");
  stage.conforms();
}

SCENARIO_TEST("connect-unresolvable", "Host name that does not resolve") {
  Stage stage("connect-unresolvable", {.resolve = [](const std::string&, ResolveAnswer answer) {
                answer(Error(Origin::resolver, EAI_NONAME, Step::resolve));
              }});
  stage.promise("client");
  static_cast<void>(stage.connects(
      "client", "connect()",
      {.hostname = "no.such.host.invalid", .port = 80, .socket = stage.complete("client")}));
  stage.conforms();
}

SCENARIO_TEST("connect-bad-options", "Connect options that are missing or of the wrong type") {
  Stage stage("connect-bad-options");
  const auto connects = [&](const std::string& what, Connecting options) {
    static_cast<void>(stage.connects("client", "connect(" + what + ")", std::move(options)));
  };
  const std::string host = "127.0.0.1";
  connects("empty options", {});
  connects("no handler table", {.hostname = host, .port = 1});
  connects("empty handler table", {.hostname = host, .port = 1, .socket = {}});
  connects("port 65536", {.hostname = host, .port = 65536, .socket = reader()});
  connects("port -1", {.hostname = host, .port = -1, .socket = reader()});
  connects("port 0", {.hostname = host, .port = 0, .socket = stage.completion("client")});
  stage.awaits("client", "promise");
  connects("no port", {.hostname = host, .socket = reader()});
  connects("empty hostname", {.hostname = "", .port = 1, .socket = reader()});
  stage.conforms();
}

#if WARREN_LIBRARY_EXCEPTIONS
SCENARIO_TEST("connect-connecterror-throws", "The connectError handler throws") {
  Stage stage("connect-connecterror-throws");
  static_cast<void>(
      stage.connects("client", "connect()",
                     {.hostname = "127.0.0.1",
                      .port = deadPort(),
                      .socket = stage.complete("client", {.connectError = [](Actor, const Error&) {
                                                 throw std::runtime_error("boom");
                                               }})}));
  stage.conforms();
}
#endif

SCENARIO_TEST("connect-localhost-fallback", "\"localhost\" against a listener on one family only") {
  Stage stage("connect-localhost-fallback");
  const auto reaches = [&](const std::string& who, const std::string& what,
                           const std::string& host) {
    static_cast<void>(stage.connects(
        who, what,
        {.hostname = host, .port = stage.host().port(), .socket = stage.completion(who)}));
    stage.awaits(who, "promise");
  };
  stage.listen(reader());
  reaches("client", "connect(localhost)", "localhost");
  stage.note("client", "remoteAddress", stage["client"].remoteAddress().host());
  stage.listen(reader(), {.hostname = "::1"});
  reaches("client6", "connect(localhost)", "localhost");
  stage.note("client6", "remoteAddress", stage["client6"].remoteAddress().host());
  const Host host = stage.listen(reader(), {.hostname = "localhost"});
  stage.note("listener", "hostname", host.hostname());
  reaches("client(127.0.0.1)", "connect()", "127.0.0.1");
  reaches("client(::1)", "connect()", "::1");
  stage.conforms();
}

SCENARIO_TEST("connect-close-in-open", "The client closes inside its own open handler") {
  Stage stage("connect-close-in-open");
  const auto plays = [&](const std::string& way, std::function<void(const std::string&)> act) {
    const std::string client = "client/" + way;
    stage.promise(client);
    stage.listen(stage.complete("server/" + way));
    stage.connect(client, stage.complete(client, {.open = [=](Actor) { act(client); }}));
    stage.awaits("server/" + way, "close");
  };
  plays("close", [&](const std::string& who) { stage.close(who); });
  plays("end", [&](const std::string& who) { stage.end(who, "bye"); });
  plays("terminate", [&](const std::string& who) { stage.terminate(who); });
  stage.conforms();
}

SCENARIO_TEST("connect-async-return", "Does connect call a handler before it returns?") {
  const TempDir directory;
  Stage stage("connect-async-return");
  const auto asks = [&](const std::string& who, Connecting options) {
    std::string fired = "nothing";
    options.socket = {.open = [&](Actor) { fired = "open"; },
                      .data = [](Actor, Bytes) {},
                      .connectError = [&](Actor, const Error&) { fired = "connectError"; }};
    static_cast<void>(stage.reactor().connect(std::move(options)).value());
    stage.note(who, "fired before connect returned", fired);
    stage.until([&] { return fired != "nothing"; });
    stage.note(who, "fired in the end", fired);
  };
  const Host host = stage.listen(reader());
  asks("tcp", {.hostname = "127.0.0.1", .port = host.port()});
  asks("refused", {.hostname = "127.0.0.1", .port = deadPort()});
  const std::string path = directory.path("listens");
  stage.listen(reader(), {.unix = path});
  asks("unix", {.unix = path});
  asks("unix missing", {.unix = directory.path("missing")});
  stage.conforms();
}

SCENARIO_TEST("connect-data-option", "Context value given in the connect options") {
  Stage stage("connect-data-option");
  const Context given = context({{"n", 0}});
  const auto client = [&](const std::string& who) {
    return stage.complete(who, {.open =
                                    [&stage, given, who](Actor socket) {
                                      if (socket.data() == nullptr) {
                                        stage.note(who, "context", value(socket.data()));
                                        return;
                                      }
                                      int n = (*socket.data())["n"];
                                      (*socket.data())["n"] = n + 1;
                                      stage.note(who, "context is the given object",
                                                 socket.data() == given);
                                    },
                                .close =
                                    [&stage, who](Actor socket, const Error&) {
                                      stage.note(who, "context in close", value(socket.data()));
                                    }});
  };
  stage.listen(reader());
  const Actor first = stage.join("client1", client("client1"), {.data = given});
  const Actor second = stage.join("client2", client("client2"), {.data = given});
  stage.note("both", "n", (*given)["n"]);
  first.data() = context("new");
  stage.note("client1", "context", value(first.data()));
  stage.note("client2", "context is the given object", second.data() == given);
  first.close();
  second.close();
  stage.join("client3", client("client3"));
  stage.conforms();
}

}  // namespace
}  // namespace warren::conformance
