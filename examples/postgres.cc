// A PostgreSQL client: encrypts and verifies the server or gives up, asks one query, prints its rows.
#include <warren/warren.h>

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>

#include "options.h"

using namespace std::string_literals;  // for the NUL bytes

constexpr uint32_t kLongestMessage = 1 << 24;

std::string int32(size_t number) {
  std::string bytes;
  for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(number >> shift);
  return bytes;
}

// A letter, a length that counts itself, and what is said. The first messages have no letter.
std::string message(const std::string& letter, const std::string& said) {
  return letter + int32(said.size() + 4) + said;
}

// Takes numbers and texts off the front of a message; behind its end there are zeros and nothing.
struct Reader {
  std::string_view left;

  std::string bytes(size_t count) {
    const std::string taken(left.substr(0, count));
    left.remove_prefix(taken.size());
    return taken;
  }
  uint32_t number(size_t size) {
    uint32_t value = 0;
    for (const char byte : bytes(size)) value = value << 8 | static_cast<uint8_t>(byte);
    return value;
  }
  std::string text() {
    const std::string taken = bytes(left.find('\0'));
    bytes(1);
    return taken;
  }
};

struct Session {
  warren::TlsOptions tls;
  std::string user, database, query;
  bool encrypted = false, asked = false, answered = false;
  std::string input;    // a message that has come in part
  std::string problem;  // why it failed
};
using Server = warren::Socket<Session>;

void fail(Server socket, const std::string& why) {
  socket.data().problem = why;
  socket.close();
}

void encrypt(Server socket, warren::Bytes bytes) {
  Session& session = socket.data();
  const char answer = warren::asText(bytes)[0];
  if (answer == 'N') return fail(socket, "the server does not encrypt");
  if (answer != 'S') return fail(socket, "this is no PostgreSQL server");
  // Whatever came behind the answer was not encrypted: then the upgrade is refused.
  const auto upgraded = socket.upgradeTls(session.tls, bytes.subspan(1));
  if (!upgraded) return fail(socket, upgraded.error().message());
  session.encrypted = true;
  // Waits for the handshake, which verifies the server: nobody else learns the user's name.
  const std::string who = "user\0"s + session.user + "\0database\0"s + session.database + "\0\0"s;
  socket.send(message("", int32(3 << 16) + who));
}

void printRow(Reader row) {
  for (uint32_t columns = row.number(2); columns > 0; --columns) {
    const uint32_t size = row.number(4);
    const std::string value = size == UINT32_MAX ? "NULL" : row.bytes(size);
    std::printf("%s%c", value.c_str(), columns > 1 ? '\t' : '\n');
  }
}

std::string problemIn(Reader said) {
  std::map<uint32_t, std::string> fields;
  while (!said.left.empty()) {
    const uint32_t name = said.number(1);
    fields[name] = said.text();
  }
  return fields['S'] + ": " + fields['M'];
}

void ready(Server socket) {
  Session& session = socket.data();
  session.answered = session.asked;
  if (!std::exchange(session.asked, true)) {
    socket.send(message("Q", session.query + '\0'));
  } else {
    socket.end(message("X", ""));
  }
}

void take(Server socket, char letter, Reader said) {
  switch (letter) {
    case 'R':  // who are you? Zero: I know
      if (said.number(4) != 0) fail(socket, "the server wants a password, and there is none");
      return;
    case 'D':
      return printRow(said);
    case 'E':  // 'Z' or the end follows
      socket.data().problem = problemIn(said);
      return;
    case 'G':  // COPY FROM STDIN waits for data
      socket.send(message("f", "no data\0"s));
      return;
    case 'Z':
      return ready(socket);
  }
}

void readMessages(Server socket, warren::Bytes bytes) {
  std::string& input = socket.data().input += warren::asText(bytes);
  Reader rest{input};
  while (socket && rest.left.size() >= 5) {
    Reader next = rest;
    const char letter = next.bytes(1)[0];
    const uint32_t size = next.number(4);
    if (size < 4 || size > kLongestMessage) return fail(socket, "the server makes no sense");
    if (next.left.size() < size - 4) break;
    take(socket, letter, {next.left.substr(0, size - 4)});
    rest.left = next.left.substr(size - 4);
  }
  if (socket) input.erase(0, input.size() - rest.left.size());
}

int main(int argc, char** argv) {
  Options options(argc, argv,
                  "postgres HOST PORT USER DATABASE QUERY [--ca FILE --server-name NAME]");
  warren::ConnectOptions<Session> connect;
  Session& session = connect.data;
  session.tls = options.whomToTrust();
  connect.hostname = options.word("HOST");
  connect.port = options.numberWord("PORT", 1, 65535);
  session.user = options.word("USER");
  session.database = options.word("DATABASE");
  session.query = options.word("QUERY");
  options.finish();

  std::string problem;
  connect.socket = {
      .open = [](Server socket) { socket.send(message("", int32(80877103))); },  // SSLRequest
      .data =
          [](Server socket, warren::Bytes bytes) {
            socket.data().encrypted ? readMessages(socket, bytes) : encrypt(socket, bytes);
          },
      .close =
          [&](Server socket, const warren::Error& error) {
            problem = socket.data().problem;
            if (!problem.empty() || socket.data().answered) return;
            problem = error ? error.message() : "the server has hung up";
          },
      .connectError = [&](Server, const warren::Error& error) { problem = error.message(); },
  };
  warren::Reactor reactor;
  const auto socket = reactor.connect(std::move(connect));
  if (!socket) return options.failed(socket.error().message());
  reactor.run();
  return problem.empty() ? 0 : options.failed(problem);
}
