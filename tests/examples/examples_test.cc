// Runs the built examples as a user does. WARREN_EXAMPLES says where they are.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "os/platform.h"
#include "support/catch.h"
#include "support/examples.h"
#include "support/net.h"

namespace warren::test {
namespace {

using namespace std::chrono_literals;

bool hasIpv6() {
  try {
    RawSocket::listenTcp("::1");
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

struct Outcome {
  int code;
  std::string output;
  std::string errors;
};

Outcome run(std::vector<std::string> command) {
  Child child(std::move(command));
  const int code = child.wait();
  return {code, child.output().rest(), child.errors().rest()};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// One line, that is, no more and no less.
bool isLine(const std::string& text) {
  return text.size() > 1 && text.find('\n') == text.size() - 1;
}

void requireEcho(RawSocket& peer, std::string_view text) {
  peer.sendAll(text);
  REQUIRE(peer.readExactly(text.size()) == text);
}

// For what a child does unseen.
void await(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) FAIL("the condition did not hold within 10 s");
    std::this_thread::yield();
  }
}

bool refuses(uint16_t port) {
  try {
    RawSocket::connectTcp(port);
    return false;
  } catch (const std::system_error&) {
    return true;
  }
}

// How many descriptors a child has open; 0 where the system does not tell.
size_t descriptorsOf(const Child& child) {
  const std::filesystem::path folder = "/proc/" + std::to_string(child.pid()) + "/fd";
  std::error_code error;
  const std::filesystem::directory_iterator open(folder, error);
  return error ? 0 : static_cast<size_t>(std::distance(begin(open), end(open)));
}

// Sends a text again and again until nothing has moved for a while; gives the bytes that went.
size_t sendUntilStuck(RawSocket& peer, std::string_view text, size_t limit) {
  size_t taken = 0;
  auto lastTime = std::chrono::steady_clock::now();
  while (taken < limit && std::chrono::steady_clock::now() - lastTime < 300ms) {
    const size_t sent = peer.sendSome(text);
    if (sent > 0) lastTime = std::chrono::steady_clock::now();
    taken += sent;
  }
  return taken;
}

std::string contentOf(const std::filesystem::path& path) {
  std::ifstream file(path);
  REQUIRE(file);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The tests are run from the root, or were compiled with a whole path.
std::filesystem::path root() {
  return std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
}

// --- echo ----------------------------------------------------------------------------------------

TEST_CASE("echo answers on both loopbacks", "[examples]") {
  Server echo("echo");
  const std::string port = std::to_string(echo.port());
  REQUIRE(echo.firstLine() == "listening on 127.0.0.1:" + port);
  RawSocket peer = RawSocket::connectTcp(echo.port());
  requireEcho(peer, "over IPv4");
  if (hasIpv6()) {
    REQUIRE(echo.output().line() == "listening on [::1]:" + port);
    RawSocket other = RawSocket::connectTcp(echo.port(), "::1");
    requireEcho(other, "over IPv6");
  }
}

TEST_CASE("echo answers on a unix path, which is gone afterwards", "[examples]") {
  const TempDir folder;
  const std::string path = folder.path("echo.sock");
  Child echo({example("echo"), "--unix", path});
  REQUIRE(echo.output().line() == "listening on unix " + path);
  RawSocket peer = RawSocket::connectUnix(path);
  requireEcho(peer, "over a path");
  peer.close();
  echo.signal(SIGTERM);
  REQUIRE(echo.wait() == 0);
  REQUIRE_FALSE(std::filesystem::exists(path));
}

TEST_CASE("echo gives back what came before the end, then ends too", "[examples]") {
  Server echo("echo");
  RawSocket peer = RawSocket::connectTcp(echo.port());
  peer.sendAll("the last words");
  peer.shutdownWrite();
  REQUIRE(peer.readAll() == "the last words");
}

#if WARREN_THREADS
TEST_CASE("echo with threads serves one port with all of them", "[examples][threads]") {
  Server echo("echo", {"--host", "127.0.0.1", "--threads", "2"});
  std::vector<RawSocket> peers;
  for (int count = 0; count < 32; ++count) {
    peers.push_back(RawSocket::connectTcp(echo.port()));
    requireEcho(peers.back(), "to one of them");
  }
  peers.clear();
  REQUIRE(echo.stop() == 0);
}
#else
TEST_CASE("echo without threads refuses to have two", "[examples]") {
  REQUIRE(run({example("echo"), "--threads", "2"}).code == 2);
}
#endif

TEST_CASE("two echoes share a port when both are asked to", "[examples]") {
  Server first("echo", {"--host", "127.0.0.1", "--reuse-port"});
  const std::string port = std::to_string(first.port());
  Child second({example("echo"), "--host", "127.0.0.1", "--port", port, "--reuse-port"});
  REQUIRE(second.output().line() == first.firstLine());
}

TEST_CASE("8 MiB come back whole from echo to a peer that reads slowly", "[examples]") {
  Server echo("echo", {"--host", "127.0.0.1"});
  RawSocket peer = RawSocket::connectTcp(echo.port());
  peer.setSmallBuffers(64 << 10, 64 << 10);
  const std::vector<std::byte> bytes = pattern(size_t{8} << 20, 1);
  Bytes left = bytes;
  std::string back;
  while (!left.empty()) {  // reads only when it can send no more
    const size_t sent = peer.sendSome(left);
    left = left.subspan(sent);
    if (sent == 0) back += peer.readSome();
  }
  peer.shutdownWrite();
  back += peer.readAll();
  REQUIRE(back.size() == bytes.size());
  REQUIRE(hash(asBytes(back)) == hash(bytes));
}

TEST_CASE("a server stops reading when its client does, and forgets it after a reset",
          "[examples]") {
  const std::string name = GENERATE("echo", "session");
  INFO(name);
  Server server(name, {"--host", "127.0.0.1"});
  const size_t before = descriptorsOf(server);
  RawSocket peer = RawSocket::connectTcp(server.port());
  peer.setSmallBuffers(64 << 10, 64 << 10);
  constexpr size_t kLimit = size_t{256} << 20;
  std::string lines;
  while (lines.size() < size_t{64} << 10) lines += "a line\n";
  REQUIRE(sendUntilStuck(peer, lines, kLimit) < kLimit);
  peer.reset();
  await([&] { return descriptorsOf(server) == before; });
}

TEST_CASE("echo stops at once when nobody is connected", "[examples]") {
  const int signal = GENERATE(SIGINT, SIGTERM);
  Server echo("echo");
  echo.signal(signal);
  REQUIRE(echo.wait() == 0);
}

TEST_CASE("echo lets a connection finish after a signal", "[examples]") {
  Server echo("echo", {"--host", "127.0.0.1"});
  RawSocket peer = RawSocket::connectTcp(echo.port());
  requireEcho(peer, "before");
  echo.signal(SIGINT);
  await([&] { return refuses(echo.port()); });
  requireEcho(peer, "after");
  peer.close();
  REQUIRE(echo.wait() == 0);
}

TEST_CASE("echo does not wait long for a connection that stays", "[examples]") {
  Server echo("echo", {"--host", "127.0.0.1"});
  RawSocket peer = RawSocket::connectTcp(echo.port());
  requireEcho(peer, "hello");
  echo.signal(SIGINT);
  REQUIRE(echo.wait() == 0);
  REQUIRE(peer.readAll().empty());
}

TEST_CASE("a second signal ends echo at once", "[examples]") {
  Server echo("echo", {"--host", "127.0.0.1"});
  RawSocket peer = RawSocket::connectTcp(echo.port());
  requireEcho(peer, "hello");
  echo.signal(SIGTERM);
  await([&] { return refuses(echo.port()); });
  echo.signal(SIGTERM);
  REQUIRE(echo.wait() == 128 + SIGTERM);
}

TEST_CASE("echo names the address that is in use", "[examples]") {
  const RawSocket taken = RawSocket::listenTcp();
  const std::string port = std::to_string(taken.port());
  const Outcome outcome = run({example("echo"), "--host", "127.0.0.1", "--port", port});
  REQUIRE(outcome.code == 1);
  REQUIRE(outcome.output.empty());
  REQUIRE(isLine(outcome.errors));
  REQUIRE(contains(outcome.errors, "127.0.0.1:" + port));
  REQUIRE(contains(outcome.errors, "EADDRINUSE"));
}

TEST_CASE("wrong usage of an example is told in a line and exits 2", "[examples]") {
  const std::vector<std::string> command =
      GENERATE(values<std::vector<std::string>>({{"echo", "--prot", "1"},
                                                 {"echo", "8080"},
                                                 {"echo", "--port"},
                                                 {"echo", "--port", "http"},
                                                 {"echo", "--port", "65536"},
                                                 {"echo", "--port", "-1"},
                                                 {"echo", "--port", "99999999999999999999"},
                                                 {"echo", "--host", ""},
                                                 {"echo", "--backlog", "0"},
                                                 {"echo", "--threads", "0"},
                                                 {"echo", "--unix", "a.sock", "--port", "1"},
                                                 {"echo", "--unix", "a.sock", "--threads", "2"},
                                                 {"client"},
                                                 {"client", "localhost"},
                                                 {"client", "localhost", "0"},
                                                 {"client", "localhost", "1", "--ca", "a.pem"},
                                                 {"echo", "--cert", "a.pem"},
                                                 {"http", "--cert", "a.pem"},
                                                 {"postgres", "localhost", "5432", "me", "mine"},
                                                 {"session", "--unix", "a.sock"}}));
  INFO(command.back());
  std::vector<std::string> whole = command;
  whole[0] = example(whole[0]);
  const Outcome outcome = run(whole);
  REQUIRE(outcome.code == 2);
  REQUIRE(outcome.output.empty());
  REQUIRE(isLine(outcome.errors));
  REQUIRE(contains(outcome.errors, "usage: " + command[0]));
}

TEST_CASE("netcat talks to echo", "[examples]") {
  Server echo("echo", {"--host", "127.0.0.1"});
  Child netcat({"nc", "127.0.0.1", std::to_string(echo.port())});
  netcat.write("hello from nc\n");
  REQUIRE(netcat.output().line() == "hello from nc");
}

// --- client --------------------------------------------------------------------------------------

TEST_CASE("client sends its texts as lines and prints the answer", "[examples]") {
  Server echo("echo");
  const std::string host = GENERATE("127.0.0.1", "localhost");
  const Outcome outcome =
      run({example("client"), host, std::to_string(echo.port()), "hello", "--world"});
  REQUIRE(outcome.code == 0);
  REQUIRE(outcome.output == "hello\n--world\n");
  REQUIRE(outcome.errors.empty());
}

TEST_CASE("client without texts prints what the server says until it ends", "[examples]") {
  RawSocket listener = RawSocket::listenTcp();
  Child client({example("client"), "127.0.0.1", std::to_string(listener.port())});
  RawSocket server = listener.accept();
  server.sendAll("one\n");
  REQUIRE(client.output().line() == "one");
  server.sendAll("two\n");
  server.close();
  REQUIRE(client.wait() == 0);
  REQUIRE(client.output().rest() == "two\n");
}

TEST_CASE("client exits 1 and tells why when nobody listens", "[examples]") {
  const uint16_t port = RawSocket::listenTcp().port();
  const Outcome outcome = run({example("client"), "127.0.0.1", std::to_string(port), "hello"});
  REQUIRE(outcome.code == 1);
  REQUIRE(outcome.output.empty());
  REQUIRE(isLine(outcome.errors));
  REQUIRE(contains(outcome.errors, "127.0.0.1:" + std::to_string(port)));
  REQUIRE(contains(outcome.errors, "ECONNREFUSED"));
}

TEST_CASE("client exits 1 and tells why when the server resets", "[examples]") {
  RawSocket listener = RawSocket::listenTcp();
  Child client({example("client"), "127.0.0.1", std::to_string(listener.port()), "hello"});
  RawSocket server = listener.accept();
  REQUIRE(server.readAll() == "hello\n");
  server.sendAll("half an ans");
  REQUIRE(client.output().exactly(11) == "half an ans");
  server.reset();
  REQUIRE(client.wait() == 1);
  REQUIRE(contains(client.errors().rest(), "ECONNRESET"));
}

// --- session -------------------------------------------------------------------------------------

TEST_CASE("session keeps clients apart, and reloads on SIGHUP for those that are there",
          "[examples]") {
  Server session("session", {"--host", "127.0.0.1"});
  RawSocket first = RawSocket::connectTcp(session.port());
  REQUIRE(first.readExactly(7) == "guest1\n");
  RawSocket second = RawSocket::connectTcp(session.port());
  REQUIRE(second.readExactly(7) == "guest2\n");
  const auto ask = [](RawSocket& peer, std::string_view line, std::string_view answer) {
    peer.sendAll(line);
    REQUIRE(peer.readExactly(answer.size()) == answer);
  };
  ask(first, "some ", "");
  ask(second, "hello\n", "guest2 1: hello\n");
  ask(first, "words\n", "guest1 1: some words\n");

  session.signal(SIGHUP);
  REQUIRE(session.output().line() == "loud from here");
  ask(first, "more\nand more\n", "guest1 2: MORE\nguest1 3: AND MORE\n");
  RawSocket third = RawSocket::connectTcp(session.port());
  REQUIRE(third.readExactly(7) == "guest3\n");
  ask(third, "hello\n", "guest3 1: HELLO\n");

  session.signal(SIGHUP);
  REQUIRE(session.output().line() == "quiet from here");
  ask(second, "hello\n", "guest2 2: hello\n");

  session.signal(SIGTERM);
  for (RawSocket* peer : {&first, &second, &third}) {
    REQUIRE(peer->readAll().empty());
    peer->close();
  }
  REQUIRE(session.wait() == 0);
}

TEST_CASE("session answers everything to a client that reads late", "[examples]") {
  Server session("session", {"--host", "127.0.0.1"});
  RawSocket peer = RawSocket::connectTcp(session.port());
  peer.setSmallBuffers(64 << 10, 64 << 10);
  std::string lines;
  std::string answers = "guest1\n";
  for (int count = 1; count <= 100'000; ++count) {
    lines += "a line\n";
    answers += "guest1 " + std::to_string(count) + ": a line\n";
  }
  std::string back;
  for (Bytes left = asBytes(lines); !left.empty();) {
    const size_t sent = peer.sendSome(left);
    left = left.subspan(sent);
    if (sent == 0) back += peer.readSome();
  }
  peer.shutdownWrite();
  back += peer.readAll();
  REQUIRE(back.size() == answers.size());
  REQUIRE(back == answers);
}

// --- hello ---------------------------------------------------------------------------------------

TEST_CASE("http answers whoever asks, and ends", "[examples]") {
  const auto [request, status, body] = GENERATE(table<std::string, std::string, std::string>(
      {{"GET /a HTTP/1.0\r\n\r\n", "200", "/a over nothing that hides it\n"},
       {"HEAD / HTTP/1.1\r\nHost: here\r\n\r\n", "200", ""},
       {"POST / HTTP/1.1\r\n\r\nand more", "501", "GET and HEAD\n"},
       {"nonsense\r\n\r\n", "400", "what?\n"},
       {"GET /" + std::string(8192, 'a'), "431", "too long\n"}}));
  Server http("http", {"--host", "127.0.0.1"});
  RawSocket visitor = RawSocket::connectTcp(http.port());
  visitor.sendAll(request.substr(0, 7));
  visitor.sendAll(request.substr(7));
  const std::string answer = visitor.readAll();
  INFO(answer);
  REQUIRE(answer.starts_with("HTTP/1.0 " + status + " "));
  REQUIRE(contains(answer, "\r\nConnection: close\r\n"));
  REQUIRE(answer.substr(answer.find("\r\n\r\n") + 4) == body);
  visitor.close();
  REQUIRE(http.stop() == 0);
}

TEST_CASE("the server in the README is examples/hello.cc, in 20 lines", "[examples]") {
  const std::string readme = contentOf(root() / "README.md");
  const std::string opening = "```cpp\n";
  const size_t begin = readme.find(opening);
  REQUIRE(begin != std::string::npos);
  const size_t end = readme.find("```", begin + opening.size());
  const std::string block = readme.substr(begin + opening.size(), end - begin - opening.size());
  REQUIRE(block == contentOf(root() / "examples" / "hello.cc"));
  REQUIRE(std::count(block.begin(), block.end(), '\n') <= 20);
}

// Its port is given, so somebody else may have it: then it has to say so.
TEST_CASE("hello echoes, or tells why it cannot", "[examples]") {
  Child hello({example("hello")});
  const std::string line = hello.errors().line();
  INFO(line);
  if (line != "try: nc localhost 8080") {
    REQUIRE(contains(line, "EADDRINUSE"));
    REQUIRE(hello.wait() == 1);
    return;
  }
  RawSocket peer = RawSocket::connectTcp(8080);
  requireEcho(peer, "hello");
}

}  // namespace
}  // namespace warren::test
