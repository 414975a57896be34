// A server that remembers: a line comes back with its client's name and its number. SIGHUP makes
// the answers loud, and quiet again, for clients that are there and those to come.
#include <warren/warren.h>

#include <cctype>
#include <csignal>

#include "options.h"

struct Session {
  std::string name;
  std::string line;  // as far as it has come
  int lineCount = 0;
  warren::ArrayBufferSink answers;  // gathered, or refused by a full socket
};
using Peer = warren::Socket<Session>;

// What the socket refuses stays in the sink. No more is read until `drain` brings us back here.
void flush(Peer socket) {
  warren::ArrayBufferSink& answers = socket.data().answers;
  const bool refused = socket.write(answers) >= 0 && !answers.empty();
  refused ? socket.pause() : socket.resume();
}

void answer(Session& session) {
  const auto gather = [&](std::string_view text) { session.answers.write(text).value(); };
  gather(session.name);
  gather(" " + std::to_string(++session.lineCount) + ": ");
  gather(session.line + "\n");
  session.line.clear();
}

warren::SocketHandlers<Session> handlers(int& clientCount, bool loud) {
  const auto greet = [&clientCount](Peer socket) {
    const std::string& name = socket.data().name = "guest" + std::to_string(++clientCount);
    const warren::Cork cork = socket.cork();  // what is written while it lives leaves as one
    if (socket.write(name) < 0 || socket.write("\n") < 0) socket.terminate();
  };
  const auto read = [loud](Peer socket, warren::Bytes bytes) {
    Session& session = socket.data();
    for (const std::byte byte : bytes) {
      const int letter = std::to_integer<int>(byte);
      if (letter == '\n') {
        answer(session);
      } else if (session.line.size() < 1000) {  // the rest of a longer line is dropped
        session.line += static_cast<char>(loud ? std::toupper(letter) : letter);
      }
    }
    flush(socket);
  };
  return {.open = greet, .data = read, .drain = flush};
}

int main(int argc, char** argv) {
  Options options(argc, argv, "session [--host H] [--port P]");
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // lines are seen at once, in a pipe too

  warren::Reactor reactor;
  int clientCount = 0;
  bool loud = false;
  warren::ListenOptions<Session> listen{.socket = handlers(clientCount, loud)};
  listen.hostname = options.text("--host", "localhost");
  listen.port = options.number("--port", 8080, 0, 65535);
  options.finish();
  const auto listener = reactor.listen(std::move(listen));
  if (!listener) return options.failed(listener.error().message());

  const auto reload = [&] {
    listener->reload(handlers(clientCount, loud = !loud)).value();
    std::puts(loud ? "loud from here" : "quiet from here");
  };
  reactor.onSignal(SIGHUP, reload).value();
  reactor.onSignal(SIGTERM, [&] { listener->stop(true); }).value();

  for (const warren::Address& address : listener->addresses()) {
    std::printf("listening on %s\n", address.text().c_str());
  }
  return reactor.run();
}
