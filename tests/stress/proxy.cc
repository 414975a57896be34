// A network that delays, cuts and reorders: a proxy on warren between the peers and the server. Each
// connection is passed on after a time of its own, so they overtake each other; its bytes travel in
// small pieces, each after a time of its own, with the FIN behind them. A reset is passed on at once.
#include <chrono>
#include <memory>
#include <string>

#include "stress/crowd.h"

namespace stress {
namespace {

using warren::Bytes;
using warren::Error;

enum { kConnections, kOvertaken, kPieces };  // of Counts::own

constexpr size_t kPiece = 6000;
constexpr size_t kFull = size_t{64} << 10;

struct Pair;
struct End {  // the Data of both sockets of a pair
  std::shared_ptr<Pair> pair{};
  size_t index = 0;
};
using Socket = warren::Socket<End>;

// What has come from one end and is on its way to the other.
struct Way {
  std::string bytes;
  bool ended = false;
  bool moving = false;
};

struct Pair {
  uint64_t number = 0;
  std::array<Socket, 2> ends;  // accepted, dialed
  std::array<Way, 2> ways;     // from each of them
};
using PairPointer = std::shared_ptr<Pair>;

class Proxy {
 public:
  Proxy(Service& service, uint16_t server, uint64_t seed)
      : service_(service), server_(server), random_(seed) {
    warren::ListenOptions<End> options{.hostname = "127.0.0.1", .port = 0, .socket = handlers()};
    options.backlog = 4096;
    options.allowHalfOpen = true;
    service.listeners.push_back(service.reactor.listen(std::move(options)).value());
  }

 private:
  warren::SocketHandlers<End> handlers() {
    return {
        .open = [this](Socket socket) { socket.data().pair ? reached(socket) : came(socket); },
        .data = [this](Socket socket, Bytes bytes) { take(socket, bytes); },
        .end = [this](Socket socket) { finish(socket); },
        .close = [](Socket socket, const Error& error) { passOn(socket.data(), error); },
        .connectError = [](Socket socket, const Error& error) { passOn(socket.data(), error); }};
  }

  uint64_t& own(size_t which) { return service_.counts.own.at(which); }
  void later(size_t milliseconds, warren::Callback<> function) {
    service_.reactor.after(std::chrono::milliseconds(random_() % milliseconds), std::move(function))
        .value();
  }

  void came(Socket socket) {
    const auto pair = std::make_shared<Pair>();
    pair->number = ++own(kConnections);
    pair->ends[0] = socket;
    socket.data() = {pair, 0};
    later(50, [this, pair] {
      if (!pair->ends[0]) return;
      pair->ends[1] = service_.reactor
                          .connect<End>({.hostname = "127.0.0.1",
                                         .port = server_,
                                         .socket = handlers(),
                                         .data = {pair, 1},
                                         .allowHalfOpen = true})
                          .value();
    });
  }

  void reached(Socket socket) {
    const PairPointer& pair = socket.data().pair;
    if (pair->number < newest_) ++own(kOvertaken);
    newest_ = std::max(newest_, pair->number);
    move(pair, 0);
  }

  void take(Socket socket, Bytes bytes) {
    const End& end = socket.data();
    std::string& queue = end.pair->ways[end.index].bytes;
    queue += warren::asText(bytes);
    if (queue.size() > kFull) socket.pause();
    move(end.pair, end.index);
  }

  void finish(Socket socket) {
    const End& end = socket.data();
    end.pair->ways[end.index].ended = true;
    move(end.pair, end.index);
  }

  static void passOn(const End& end, const Error& error) {
    if (error) end.pair->ends[1 - end.index].terminate();
  }

  void move(const PairPointer& pair, size_t from) {
    Way& way = pair->ways[from];
    if (way.moving || !pair->ends[1 - from] || (way.bytes.empty() && !way.ended)) return;
    way.moving = true;
    later(3, [this, pair, from] { arrive(pair, from); });
  }

  void arrive(const PairPointer& pair, size_t from) {
    Way& way = pair->ways[from];
    const Socket to = pair->ends[1 - from];
    if (way.bytes.empty()) {
      to.end();
      return;
    }
    way.moving = false;
    const size_t size = std::min<size_t>(way.bytes.size(), 1 + random_() % kPiece);
    const std::ptrdiff_t taken = to.write(std::string_view(way.bytes).substr(0, size));
    if (taken < 0) return;
    ++own(kPieces);
    way.bytes.erase(0, static_cast<size_t>(taken));
    if (way.bytes.size() < kFull) pair->ends[from].resume();
    move(pair, from);
  }

  Service& service_;
  uint16_t server_;
  std::mt19937_64 random_;
  uint64_t newest_ = 0;  // of those that have reached the server
};

}  // namespace

void proxy(const Settings& settings) {
  Server server([](Service& service) {
    service.listen(service.options(false, echo()));
    if (WARREN_TLS) service.listen(service.options(true, echo()));
  });
  Server between([&](Service& service) {
    service.keep(std::make_shared<Proxy>(service, server.port(0), settings.seed));
    if (WARREN_TLS) service.keep(std::make_shared<Proxy>(service, server.port(1), settings.seed));
  });
  std::vector<Target> targets = {{between.port(0)}};
  if (WARREN_TLS) targets.push_back({between.port(1), true});
  Loop loop;
  size_t done = 0;
  std::deque<Talker> talkers;
  while (talkers.size() < settings.count(300, 20)) talkers.emplace_back(loop, done);
  std::mt19937_64 random(settings.seed);

  const double begin = now();
  inTurn(loop, talkers, 100, "talking", done, [&](Talker& talker) {
    talker.dial(targets[random() % targets.size()]);
    talker.talk(1 + random() % 200'000);
    talker.finish();
  });
  for (Talker& talker : talkers) {
    loop.until([&] { return talker.ended(); });
    talker.close();
  }
  Rogue::Tally tally{.targets = targets, .random = random, .goal = settings.count(3000, 100)};
  std::deque<Rogue> rogues;
  for (size_t i = 0; i < 64; ++i) rogues.emplace_back(loop, tally).begin();
  loop.until([&] {
    progress("%zu of %zu hostile peers", tally.done, tally.goal);
    return tally.done == tally.goal;
  });
  const Counts counts = between.finish().counts;
  const Counts behind = server.finish().counts;
  note("%zu connections passed on in %.1f s, %zu were overtaken by later ones; %zu pieces",
       size_t{counts.own[kConnections]}, now() - begin, size_t{counts.own[kOvertaken]},
       size_t{counts.own[kPieces]});
  note("%.0f MB compared; behind the proxy %zu clean closes, %zu resets",
       static_cast<double>(bytesCompared()) / 1e6, size_t{behind.clean}, size_t{behind.resets});
  if (counts.own[kOvertaken] == 0) fail("nothing was reordered");
  if (behind.clean < talkers.size() + tally.plans[Rogue::endAfterAll]) fail("ends were lost");
}

}  // namespace stress
