// An HTTP/1.0 server: tells every visitor what it was asked for, and over what.
#include <warren/tls_facts.h>
#include <warren/warren.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>

#include "options.h"

using Visitor =
    warren::Socket<std::string>;  // its Data: the head of its request, as far as it has come

constexpr size_t kLongestHead = 8192;

std::string response(std::string_view status, std::string_view body, bool withBody = true) {
  std::string text = "HTTP/1.0 " + std::string(status) + "\r\nContent-Type: text/plain\r\n";
  text += "Content-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n";
  return withBody ? text.append(body) : text;
}

// `line` is "GET /path HTTP/1.1".
std::string answer(Visitor socket, std::string_view line) {
  const size_t space = line.find(' ');
  const size_t end = line.find(' ', space + 1);
  if (space == 0 || end == line.npos || !line.substr(end).starts_with(" HTTP/1.")) {
    return response("400 Bad Request", "what?\n");
  }
  const std::string_view method = line.substr(0, space);
  if (method != "GET" && method != "HEAD") return response("501 Not Implemented", "GET and HEAD\n");
  const std::string path(line.substr(space + 1, end - space - 1));
  const std::string over = socket.tls() ? socket.tls().cipher() : "nothing that hides it";
  return response("200 OK", path + " over " + over + "\n", method == "GET");
}

void readHead(Visitor socket, warren::Bytes bytes) {
  std::string& head = socket.data();
  head += warren::asText(bytes);
  const bool whole = head.find("\r\n\r\n") != head.npos;
  if (!whole && head.size() <= kLongestHead) return;
  socket.end(whole ? answer(socket, std::string_view(head).substr(0, head.find("\r\n")))
                   : response("431 Request Header Fields Too Large", "too long\n"));
  socket.shutdown(warren::Side::read);  // a body is of no interest: dropped until its end
}

int main(int argc, char** argv) {
  Options options(argc, argv, "http [--host H] [--port P] [--cert FILE --key FILE]");
  warren::Reactor reactor;
  warren::ListenOptions<std::string> listen{.socket = {.data = readHead}};
  listen.hostname = options.text("--host", "localhost");
  listen.port = options.number("--port", 8080, 0, 65535);
  listen.tls = options.serverTls();
  options.finish();
  const auto listener = reactor.listen(std::move(listen));
  if (!listener) return options.failed(listener.error().message());
  const auto finish = [&] { reactor.drain(std::chrono::seconds(1)).value(); };
  for (const int signal : {SIGINT, SIGTERM}) reactor.onSignal(signal, finish).value();
  for (const warren::Address& address : listener->addresses()) {
    std::printf("listening on %s\n", address.text().c_str());
  }
  std::fflush(stdout);
  return reactor.run();
}
