// TLS: options, and what a socket tells about its session.
#include <fstream>

#include "conformance/tls_stage.h"

namespace warren::conformance {
namespace {

// --- material -----------------------------------------------------------------------------------------

Listening listening(TlsSetting tls) {
  return {.hostname = "127.0.0.1",
          .port = 0,
          .socket = {.data = [](Actor, Bytes) {}},
          .tls = std::move(tls)};
}

// Notes a call that may be refused, with what it says then.
template <class T>
void noteCall(Stage& stage, const std::string& who, const std::string& what,
              const Result<T>& result) {
  stage.line(
      who,
      "> " + what + (result ? " = \"listener\"" : " !! " + Json(result.error().message()).dump()));
}

void noteListen(Stage& stage, const std::string& what, TlsSetting tls) {
  noteCall(stage, "listener", "listen(" + what + ")",
           stage.reactor().listen(listening(std::move(tls))));
}

SCENARIO_TEST("tls-bad-pem", "Key, certificate and CA that are not usable") {
  Stage stage("tls-bad-pem");
  const std::string garbage = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
  const std::string garbageKey = "-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n";
  const test::Identity& own = localhost();
  const auto listens = [&](const std::string& what, TlsSetting tls) {
    noteListen(stage, "tls: " + what, std::move(tls));
  };
  listens("key of another certificate", TlsOptions{.key = elsewhere().key, .cert = own.cert});
  listens("garbage key", TlsOptions{.key = garbageKey, .cert = own.cert});
  listens("garbage certificate", TlsOptions{.key = own.key, .cert = garbage});
  listens("text key", TlsOptions{.key = "not a key", .cert = own.cert});
  listens("garbage CA", TlsOptions{.key = own.key, .cert = own.cert, .ca = garbage});
  listens("certificate as key", TlsOptions{.key = own.cert, .cert = own.cert});
  listens("only a key", TlsOptions{.key = own.key});
  listens("only a certificate", TlsOptions{.cert = own.cert});
  listens("empty options", TlsOptions{});
  listens("true", true);
  listens("false", false);
  listens("null", {});
  const auto connects = [&](const std::string& what, TlsOptions tls) {
    noteCall(stage, "client", "connect(tls: " + what + ")",
             stage.reactor().connect<Context>({.hostname = "127.0.0.1",
                                               .port = 1,
                                               .socket = {.data = [](Actor, Bytes) {}},
                                               .tls = std::move(tls)}));
  };
  connects("garbage CA", {.ca = garbage});
  connects("key of another certificate", {.key = elsewhere().key, .cert = own.cert});
  stage.conforms();
}

SCENARIO_TEST("tls-key-input-kinds", "Key and certificate as text, bytes, file handle, list") {
  Stage stage("tls-key-input-kinds");
  const test::TempDir folder;
  const test::Identity& own = localhost();
  const test::Identity& rsa = localhostRsa();
  std::ofstream(folder.path("key")) << own.key;
  std::ofstream(folder.path("cert")) << own.cert;
  const auto plays = [&](const std::string& way, TlsOptions tls) {
    Listening options = listening(std::move(tls));
    static_cast<void>(stage.does("listener/" + way, "listen()", [&] {
      Table table = std::move(options.socket);
      return Result<Host>(stage.listen(std::move(table), std::move(options)));
    }));
    bool shaken = false;
    const auto note = [&](Actor socket, bool ok, const Error& error) {
      const auto chain = socket.tls().peerCertificates();
      stage.note("client/" + way, "handshake",
                 {{"ok", ok},
                  {"error", error ? Json(shown(error)) : Json()},
                  {"authorized", socket.tls().authorized()},
                  {"serial", chain.empty() ? "" : chain.front().serial}});
      shaken = true;
    };
    const Actor client = stage.connect(
        "client/" + way, {.data = [](Actor, Bytes) {}, .handshake = note}, {.tls = clientTls()});
    stage.until([&] { return shaken; });
    client.close();
  };
  plays("text", {.key = own.key, .cert = own.cert});
  plays("bytes", {.key = asBytes(own.key), .cert = asBytes(own.cert)});
  plays("file handle", {.key = file(folder.path("key")), .cert = file(folder.path("cert"))});
  plays("list", {.key = {Pem(own.key)}, .cert = {Pem(own.cert)}});
  plays("two pairs", {.key = {own.key, rsa.key}, .cert = {own.cert, rsa.cert}});
  plays("two pairs, RSA first", {.key = {rsa.key, own.key}, .cert = {rsa.cert, own.cert}});
  stage.conforms();
}

SCENARIO_TEST("tls-no-certificate", "A TLS listener without key and certificate") {
  Stage stage("tls-no-certificate");
  noteListen(stage, "tls: true", true);
  noteListen(stage, "tls: only a certificate", TlsOptions{.cert = localhost().cert});
  stage.conforms();
}

SCENARIO_TEST("tls-ciphers", "Cipher list option") {
  Stage stage("tls-ciphers");
  TlsOptions tls = serverTls();
  tls.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
  verified(stage, {.listening = {.tls = tls}});
  stage.note("client", "getTLSVersion()", versionOf(stage["client"]));
  stage.note("client", "getCipher()", cipherOf(stage["client"]));
  stage["client"].close();
  stage.awaits("server", "close");
  tls.ciphers = "NO-SUCH-CIPHER";
  noteListen(stage, "ciphers NO-SUCH-CIPHER", tls);
  stage.conforms();
}

// --- facts --------------------------------------------------------------------------------------------

// "CN=localhost,O=warren test,C=SE" -> {"CN": "localhost", ...}
Json fields(const std::string& name) {
  Json found;
  std::istringstream all(name);
  for (std::string field; std::getline(all, field, ',');) {
    const size_t equals = field.find('=');
    found[field.substr(0, equals)] = field.substr(equals + 1);
  }
  return found;
}

// What both know of a certificate, under the reference's names; bytes and dates by their types only.
Json described(const Certificate& certificate) {
  std::string names;
  for (const std::string& name : certificate.names) {
    const bool address = name.rfind("IP:", 0) == 0;
    names += (names.empty() ? "" : ", ") + (address ? "IP Address:" + name.substr(3) : name);
  }
  REQUIRE(certificate.notBefore < certificate.notAfter);
  return {{"subject", fields(certificate.subject)},
          {"issuer", fields(certificate.issuer)},
          {"serialNumber", certificate.serial},
          {"subjectaltname", names},
          {"valid_from", "string"},
          {"valid_to", "string"},
          {"fingerprint256", certificate.fingerprint.size() == 64 ? "string" : "undefined"},
          {"raw", certificate.der.empty() ? "undefined" : "bytes"}};
}

void noteFacts(Stage& stage, const std::string& who, Actor socket, const std::string& when) {
  const TlsFacts facts = socket.tls();
  const auto chain = facts.peerCertificates();
  const auto own = facts.certificate();
  stage.note(who, "authorized in " + when, facts.authorized());
  stage.note(who, "getTLSVersion() in " + when, versionOf(socket));
  stage.note(who, "getCipher() in " + when, cipherOf(socket));
  stage.note(who, "getPeerCertificate() in " + when,
             chain.empty() ? "undefined" : described(chain.front()));
  stage.note(who, "getCertificate() in " + when, own ? described(*own) : "undefined");
  const std::string group = facts.keyExchange();
  stage.note(who, "keyExchange() in " + when, group);
  stage.note(who, "isSessionReused() in " + when, facts.resumed());
  stage.note(who, "getServername() in " + when, nameOf(socket));
  stage.note(who, "getSharedSigalgs() count > 0 in " + when,
             !facts.sharedSignatureAlgorithms().empty());
}

SCENARIO_TEST("tls-info", "What a TLS socket tells about its session") {
  Stage stage("tls-info");
  const auto noting = [&](const std::string& who) {
    const auto at = [&stage, who](const std::string& when) {
      return [&stage, who, when](Actor socket, const auto&...) {
        noteFacts(stage, who, socket, when);
      };
    };
    return Table{.open = at("open"), .close = at("close"), .handshake = at("handshake")};
  };
  TlsOptions tls = clientTls();
  tls.curves = {"X25519"};
  verified(stage,
           {.server = noting("server"), .client = noting("client"), .connecting = {.tls = tls}});
  stage["client"].close();
  stage.conforms();
}

SCENARIO_TEST("tls-session-resumption", "Session resumption") {
  Stage stage("tls-session-resumption");
  Table server = stage.complete("server", {.handshake = [&](Actor socket, bool, const Error&) {
                                  stage.note("server", "isSessionReused()", socket.tls().resumed());
                                  static_cast<void>(socket.write("x"));
                                }});
  server.end = {};  // the recording does not show how the server's sockets end
  server.close = {};
  stage.listen(std::move(server), {.tls = serverTls()});
  std::string session;
  const auto plays = [&](const std::string& client, const std::string& resume) {
    const auto resumes = [&, client](Actor socket) {
      if (resume.empty()) return;
      stage.does(client, "setSession(session)", [&] { REQUIRE(socket.tls().setSession(resume)); });
    };
    const auto reused = [&, client](Actor socket, bool, const Error&) {
      stage.note(client, "isSessionReused()", socket.tls().resumed());
    };
    stage.connect(client, stage.complete(client, {.open = resumes, .handshake = reused}),
                  {.tls = clientTls()});
    stage.awaits(client, "data");
    session = stage[client].tls().session();
    if (client == "client1") {
      stage.note(client, "getSession() gives", session.empty() ? "undefined" : "Buffer");
    }
    stage[client].close();
    stage.quiet();
  };
  plays("client1", "");
  plays("client2", session);
  plays("client3", "");
  stage.conforms();
}

SCENARIO_TEST("tls-keying-material",
              "Exported keying material and finished messages agree on both sides") {
  Stage stage("tls-keying-material");
  verified(stage);
  const TlsFacts client = stage["client"].tls();
  const TlsFacts server = stage["server"].tls();
  const auto exported = [](const TlsFacts& facts, std::string_view context) {
    return facts.exportKeyingMaterial(32, "EXPERIMENTAL warren", context).value();
  };
  const std::string material = exported(client, "ctx");
  stage.note("both", "same label and context agree", material == exported(server, "ctx"));
  stage.note("both", "another context differs", material != exported(client, "other"));
  stage.note("client", "size", material.size());
  stage.note("both", "client finished = server's peer finished",
             client.finished() == server.peerFinished());
  stage.note("both", "server finished = client's peer finished",
             server.finished() == client.peerFinished());
  stage["client"].close();
  stage.quiet();
  static_cast<void>(stage.does("client", "exportKeyingMaterial(32, label) after close", [&] {
    return client.exportKeyingMaterial(32, "EXPERIMENTAL warren");
  }));
  stage.conforms();
}

}  // namespace
}  // namespace warren::conformance
