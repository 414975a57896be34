// TLS: the handshake, and everything that makes it fail.
#include <array>

#include "conformance/tls_stage.h"

namespace warren::conformance {
namespace {

using test::RawSocket;

// --- what goes well --------------------------------------------------------------------------------

// "hi", "yo", and the client closes.
void talk(Stage& stage) {
  stage.write("client", "hi");
  stage.awaits("server", "data");
  stage.write("server", "yo");
  stage.awaits("client", "data");
  stage.close("client");
}

SCENARIO_TEST("tls-handshake-handlers",
              "Verified TLS connection, handshake handlers on both sides") {
  Stage stage("tls-handshake-handlers");
  stage.listen(stage.complete("server", shaking()), {.tls = serverTls()});
  connects(stage, "client", stage.complete("client", shaking()), {.tls = clientTls()});
  stage.awaits("server", "handshake");
  stage.note("client", "authorized", stage["client"].tls().authorized());
  talk(stage);
  stage.conforms();
}

SCENARIO_TEST("tls-no-handshake-handlers", "Verified TLS connection, no handshake handlers") {
  Stage stage("tls-no-handshake-handlers");
  const auto noting = [&](const std::string& who) {
    return stage.complete(who, {.open = [&stage, who](Actor socket) {
                            stage.note(who, "authorized", socket.tls().authorized());
                            stage.note(who, "getTLSVersion", versionOf(socket));
                          }});
  };
  stage.listen(noting("server"), {.tls = serverTls()});
  connects(stage, "client", noting("client"), {.tls = clientTls()});
  stage.awaits("server", "open");
  talk(stage);
  stage.conforms();
}

SCENARIO_TEST("tls-write-before-handshake", "Writing in open, before the handshake is done") {
  Stage stage("tls-write-before-handshake");
  const auto writing = [&](const std::string& who, const std::string& text) {
    return Table{.open = [&stage, who, text](Actor socket) {
      stage.write(who, text);
      stage.note(who, "authorized", socket.tls().authorized());
      stage.note(who, "getTLSVersion", versionOf(socket));
      stage.note(who, "bytesWritten", socket.bytesWritten());
    }};
  };
  verified(stage, {.server = writing("server", "welcome"), .client = writing("client", "early")});
  stage.conforms();
}

SCENARIO_TEST("tls-alpn", "ALPN") {
  Stage stage("tls-alpn");
  using Names = std::vector<std::string>;
  const auto plays = [&](const std::string& way, const Names& servers, const Names& clients) {
    const auto noting = [&](const std::string& who) {
      return stage.complete(who, {.open =
                                      [&stage, who](Actor socket) {
                                        stage.note(who, "alpnProtocol in open", protocolOf(socket));
                                      },
                                  .handshake =
                                      [&stage, who](Actor socket, bool, const Error&) {
                                        stage.note(who, "alpnProtocol in handshake",
                                                   protocolOf(socket));
                                      }});
    };
    TlsOptions server = serverTls();
    server.alpn = servers;
    TlsOptions client = clientTls();
    client.alpn = clients;
    stage.listen(noting("server/" + way), {.tls = server});
    connects(stage, "client/" + way, noting("client/" + way), {.tls = client});
    stage.awaits("server/" + way, "handshake");
    stage.awaits("client/" + way, "handshake");
    stage["client/" + way].close();
    stage.awaits("server/" + way, "close");
  };
  plays("h2+h2", {"h2"}, {"h2"});
  plays("both+http/1.1", {"http/1.1", "h2"}, {"http/1.1"});
  plays("no overlap", {"http/1.1"}, {"h2"});
  plays("server only", {"http/1.1"}, {});
  plays("none", {}, {});
  stage.conforms();
}

SCENARIO_TEST("tls-server-name", "Server name indication") {
  Stage stage("tls-server-name");
  const auto plays = [&](const std::string& way, Connecting options) {
    const auto noting = [&](const std::string& who) {
      return Table{.handshake = [&stage, who](Actor socket, bool, const Error&) {
        stage.note(who, "getServername()", nameOf(socket));
      }};
    };
    verified(stage, {.server = noting("server/" + way),
                     .client = noting("client/" + way),
                     .connecting = std::move(options),
                     .suffix = "/" + way});
    stage["client/" + way].close();
    stage.awaits("server/" + way, "close");
  };
  TlsOptions anybody = clientTls("");
  anybody.rejectUnauthorized = false;
  plays("named", {.tls = clientTls()});
  plays("host", {.hostname = "localhost", .tls = clientTls("")});
  plays("address", {.tls = anybody});
  stage.conforms();
}

// --- a server that is not trusted -------------------------------------------------------------------

SCENARIO_TEST("tls-self-signed-rejected",
              "Certificate the client cannot verify; handshake handler present") {
  Stage stage("tls-self-signed-rejected");
  stage.listen(stage.complete("server", shaking()), {.tls = showing(selfSignedLocalhost())});
  connects(stage, "client", stage.complete("client", shaking()),
           {.tls = TlsOptions{.serverName = "localhost"}});
  stage.awaits("server", "close");
  stage.readyState("client");
  stage.note("client", "authorized", stage["client"].tls().authorized());
  stage.does("client", "getAuthorizationError()", [&] {
    const Error error = stage["client"].tls().authorizationError();
    return Json(error ? "error " + shown(error) : "undefined");
  });
  stage.write("client", "x");
  stage.conforms();
}

SCENARIO_TEST("tls-self-signed-rejected-no-handshake-handler",
              "Certificate the client cannot verify; no handshake handler") {
  Stage stage("tls-self-signed-rejected-no-handshake-handler");
  std::string promise = "pending";
  stage.listen(stage.complete("server"), {.tls = showing(selfSignedLocalhost())});
  stage.promise("client");
  stage.connect("client",
                stage.complete(
                    "client", {.open = [&](Actor) { promise = "resolved"; },
                               .connectError = [&](Actor, const Error&) { promise = "rejected"; }}),
                {.tls = TlsOptions{.serverName = "localhost"}});
  stage.awaits("server", "error");
  stage.note("client", "promise after 400 ms", promise);
  stage.conforms();
}

SCENARIO_TEST("tls-wrong-name", "Certificate for another name") {
  Stage stage("tls-wrong-name");
  stage.listen(shaking({.data = [](Actor, Bytes) {}}), {.tls = showing(elsewhere())});
  const auto plays = [&](const std::string& way, const std::string& name) {
    const std::string client = "client/" + way;
    connects(stage, client, stage.complete(client, shaking()), {.tls = clientTls(name)});
    stage.awaits(client, "handshake");
    stage.note(client, "authorized", stage[client].tls().authorized());
    stage.readyState(client);
    stage[client].close();
  };
  plays("localhost", "localhost");
  plays("other.example", "other.example");
  plays("a.wild.example", "a.wild.example");
  plays("a.b.wild.example", "a.b.wild.example");
  plays("no name", "");
  stage.conforms();
}

SCENARIO_TEST("tls-rejected-write-in-open", "Writing to a server that fails verification") {
  Stage stage("tls-rejected-write-in-open");
  const auto plays = [&](const std::string& way, bool handshake) {
    const std::string client = "client/" + way;
    const std::string server = "server/" + way;
    size_t received = 0;
    const auto writes = [&](Actor socket, const char* text) {
      stage.note(client, "authorized", socket.tls().authorized());
      stage.write(client, text);
    };
    Table table{.open = [&](Actor socket) { writes(socket, "secret"); },
                .drain = [&](Actor socket) { writes(socket, "secret2"); }};
    if (handshake) {
      table.handshake = [&](Actor socket, bool, const Error&) { writes(socket, "secret3"); };
    }
    stage.listen(
        stage.complete(server,
                       shaking({.data = [&](Actor, Bytes bytes) { received += bytes.size(); }})),
        {.tls = showing(selfSignedLocalhost())});
    connects(stage, client, stage.complete(client, table),
             {.tls = TlsOptions{.serverName = "localhost"}});
    stage.awaits(server, "close");
    stage.note(server, "bytes received", received);
  };
  plays("none", false);
  plays("handshake handler", true);
  stage.conforms();
}

// --- a client that must show who it is --------------------------------------------------------------

void mutual(const char* scenario, const test::Identity& shown) {
  Stage stage(scenario);
  TlsOptions server = serverTls();
  server.ca = authority().cert;
  server.requestCert = true;
  TlsOptions client = clientTls();
  if (!shown.key.empty()) {
    client.key = shown.key;
    client.cert = shown.cert;
  }
  stage.listen(stage.complete("server", {.handshake =
                                             [&](Actor socket, bool, const Error&) {
                                               const TlsFacts facts = socket.tls();
                                               stage.note("server", "authorized",
                                                          facts.authorized());
                                               stage.note("server", "peer certificate common name",
                                                          commonName(facts.peerCertificates()));
                                             }}),
               {.tls = server});
  connects(stage, "client", stage.complete("client", shaking()), {.tls = client});
  stage.awaits("server", "handshake");
  stage.write("client", "hi");
  stage.quiet();
  stage["client"].close();
  stage.conforms();
}

SCENARIO_TEST("tls-mutual-ok", "Client certificate asked for and given") {
  mutual("tls-mutual-ok", test::issue(authority(), {.subject = "client one"}));
}

SCENARIO_TEST("tls-mutual-missing", "Client certificate asked for, none given") {
  mutual("tls-mutual-missing", {});
}

SCENARIO_TEST("tls-mutual-untrusted", "Client certificate from a CA the server does not trust") {
  const test::Identity other = test::selfSigned({.subject = "Other CA", .authority = true});
  mutual("tls-mutual-untrusted", test::issue(other, {.subject = "client two"}));
}

// --- a client that speaks no TLS ---------------------------------------------------------------------

SCENARIO_TEST("tls-plain-client", "A plain client talks to a TLS server") {
  Stage stage("tls-plain-client");
  const auto plays = [&](const std::string& server, const std::string& raw, Table then) {
    const Host host = stage.listen(stage.complete(server, std::move(then)), {.tls = serverTls()});
    RawSocket peer = RawSocket::connectTcp(static_cast<uint16_t>(host.port()));
    peer.sendAll("GET / HTTP/1.1\r\n\r\n");
    std::string text;
    stage.until([&] {
      text += peer.readSome();
      return peer.ended();
    });
    const bool alert = !text.empty() && text.front() == 21;
    stage.line(
        raw,
        "reads " +
            Json{{"bytes", text.size()}, {"startsWithTlsAlert", alert}, {"then", "eof"}}.dump());
  };
  plays("server", "raw", shaking());
  plays("server(no handshake handler)", "raw2", {});
  stage.conforms();
}

SCENARIO_TEST("tls-plain-client-silent",
              "A plain client connects to a TLS server and leaves without a word") {
  Stage stage("tls-plain-client-silent");
  const auto plays = [&](const std::string& server, Table then, bool resets) {
    const Host host = stage.listen(stage.complete(server, std::move(then)), {.tls = serverTls()});
    RawSocket peer = RawSocket::connectTcp(static_cast<uint16_t>(host.port()));
    const uint64_t before = stage.reactor().stats().accepted;
    stage.until([&] { return stage.reactor().stats().accepted > before; });
    resets ? peer.reset() : peer.close();
    stage.quiet();
  };
  plays("server/close/handshake handler", shaking(), false);
  plays("server/close/none", {}, false);
  plays("server/reset/handshake handler", shaking(), true);
  plays("server/reset/none", {}, true);
  stage.conforms();
}

}  // namespace
}  // namespace warren::conformance
