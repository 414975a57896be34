// A plain conversation that goes on in TLS, with openssl at the other end.
#include <optional>
#include <string>

#include "tls_peers.h"

namespace warren::test {
namespace {

std::string versionOption() { return GENERATE("-tls1_2", "-tls1_3"); }

// As much of SMTP as it takes to begin TLS.
struct MailServer {
  explicit MailServer(const Files& files) : tls(files.options()) {}

  void answer(Socket<> socket, std::string_view command) {
    commands += command;
    if (command == "STARTTLS\r\n") {
      REQUIRE(socket.write("220 go ahead\r\n") == 14);
      REQUIRE(socket.upgradeTls(tls));
    } else {
      socket.send(socket.tls() ? "250 in secret\r\n" : "250-warren\r\n250 STARTTLS\r\n");
    }
  }
  bool got(std::string_view command) const { return commands.ends_with(command); }

  TlsOptions tls;
  std::string commands;
  std::optional<Error> end;
  Reactor reactor;
  Listener<> listener =
      reactor
          .listen<>({.hostname = "127.0.0.1",
                     .port = 0,
                     .socket = {.open = [](Socket<> socket) { socket.send("220 warren\r\n"); },
                                .data = [this](Socket<> socket,
                                               Bytes bytes) { answer(socket, asText(bytes)); },
                                .close = [this](Socket<>, const Error& error) { end = error; }}})
          .value();
};

}  // namespace

TEST_CASE("openssl s_client begins TLS in the middle of SMTP", "[peers][tls]") {
  const std::string openssl = peerPath("openssl");
  if (openssl.empty()) return;
  const std::string version = versionOption();
  INFO(version);
  const Files files;
  MailServer server(files);
  Child client({openssl, "s_client", "-starttls", "smtp", "-connect",
                at(static_cast<uint16_t>(server.listener.port())), "-CAfile", files.path("ca.pem"),
                "-verify_return_error", "-quiet", version});
  client.write("NOOP\n");  // sent when TLS is agreed on
  runUntil(server.reactor, [&] { return server.got("NOOP\n") || server.end; });
  INFO(server.commands);
  REQUIRE(server.got("STARTTLS\r\nNOOP\n"));
  REQUIRE(client.output().lineWith("in secret") == "250 in secret\r");
  client.endInput();
  client.signal(SIGTERM);
  runUntil(server.reactor, [&] { return server.end.has_value(); });
}

TEST_CASE("warren begins TLS in the middle of SMTP, and openssl s_server goes on", "[peers][tls]") {
  const std::string openssl = peerPath("openssl");
  if (openssl.empty()) return;
  const std::string version = versionOption();
  INFO(version);
  const Files files;
  // It knows nothing of SMTP: the test itself is the mail server until TLS begins, and passes on
  // everything from there.
  Child secret({openssl, "s_server", "-accept", "127.0.0.1:0", "-rev", "-cert",
                files.path("cert.pem"), "-key", files.path("key.pem"), version});
  const std::string accepts = secret.output().lineWith("ACCEPT ");
  RawSocket listening = RawSocket::listenTcp();

  std::string answers;
  std::optional<Error> end;
  bool authorized = false;
  const auto read = [&](Socket<> socket, Bytes bytes) {
    answers += asText(bytes);
    if (answers == "220 mail\r\n") socket.send("STARTTLS\r\n");
    if (answers.ends_with("220 go ahead\r\n")) {
      REQUIRE(socket.upgradeTls(files.clientOptions()));
      socket.send("NOOP\n");
    }
    authorized = socket.tls().authorized();
  };
  Reactor reactor;
  const auto client = reactor.connect<>(
      {.hostname = "127.0.0.1",
       .port = listening.port(),
       .socket = {.data = read, .close = [&](Socket<>, const Error& error) { end = error; }}});
  REQUIRE(client);
  RawSocket outside = listening.accept();
  outside.sendAll("220 mail\r\n");
  std::string command;
  runUntil(reactor, [&] { return (command += outside.readSome()) == "STARTTLS\r\n"; });
  RawSocket inside = RawSocket::connectTcp(
      static_cast<uint16_t>(std::stoi(accepts.substr(accepts.rfind(':') + 1))));
  outside.sendAll("220 go ahead\r\n");
  runUntil(reactor, [&] {
    inside.sendAll(outside.readSome());
    outside.sendAll(inside.readSome());
    return answers.ends_with("POON\n") || end;
  });
  REQUIRE_FALSE(end);
  REQUIRE(authorized);
}

}  // namespace warren::test
