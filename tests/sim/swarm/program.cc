#include "program.h"

#include <algorithm>
#include <array>
#include <span>
#include <sstream>

namespace warren::swarm {

namespace {

constexpr std::array<std::string_view, static_cast<size_t>(Verb::count)> kVerbs = {
    "listen",      "listenUnix",  "stop",        "stopActive", "drain",     "reloadListener",
    "arrive",      "dial",        "adopt",       "churn",      "write",     "send",
    "sink",        "cork",        "flush",       "end",        "endWith",   "close",
    "terminate",   "shutWrite",   "shutRead",    "pause",      "resume",    "timeout",
    "idleTimeout", "reload",      "unref",       "upgrade",    "ask",       "throws",
    "peerSend",    "peerRead",    "peerReadAll", "peerEnd",    "peerReset", "peerClose",
    "peerUpgrade", "peerNotify",  "peerRekey",   "peerMeddle", "peerCut",   "peerHush",
    "elapse",      "descriptors", "quiesce",
};

constexpr std::array<std::string_view, static_cast<size_t>(When::count)> kWhens = {
    "now",       "atOpen",      "atData", "atDrain",  "atEnd", "atClose",
    "atTimeout", "atHandshake", "posted", "deferred", "later",
};

// How often each is drawn; what ends things is rarer than what keeps them going.
struct Weight {
  Verb verb;
  uint32_t weight;
};
constexpr Weight kWeights[] = {
    {Verb::listen, 3},      {Verb::listenUnix, 2},   {Verb::stop, 1},
    {Verb::stopActive, 1},  {Verb::drain, 1},        {Verb::reloadListener, 3},
    {Verb::arrive, 12},     {Verb::dial, 10},        {Verb::adopt, 2},
    {Verb::churn, 1},       {Verb::write, 14},       {Verb::send, 14},
    {Verb::sink, 4},        {Verb::cork, 4},         {Verb::flush, 2},
    {Verb::end, 3},         {Verb::endWith, 3},      {Verb::close, 3},
    {Verb::terminate, 1},   {Verb::shutWrite, 2},    {Verb::shutRead, 1},
    {Verb::pause, 4},       {Verb::resume, 6},       {Verb::timeout, 2},
    {Verb::idleTimeout, 2}, {Verb::reload, 3},       {Verb::unref, 1},
    {Verb::ask, 2},         {Verb::throws, 1},       {Verb::peerSend, 16},
    {Verb::peerRead, 10},   {Verb::peerReadAll, 10}, {Verb::peerEnd, 4},
    {Verb::peerReset, 1},   {Verb::peerClose, 2},    {Verb::elapse, 6},
    {Verb::descriptors, 1}, {Verb::quiesce, 2},
};
// Of programs in which peers speak TLS.
constexpr Weight kTlsWeights[] = {
    {Verb::upgrade, 14},   {Verb::arrive, 4},    {Verb::dial, 4},      {Verb::peerUpgrade, 4},
    {Verb::peerNotify, 3}, {Verb::peerCut, 3},   {Verb::peerRekey, 3}, {Verb::peerMeddle, 2},
    {Verb::peerHush, 1},   {Verb::peerSend, 10},
};

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint32_t below(uint32_t limit) {
    uint64_t mixed = state_ += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return static_cast<uint32_t>((mixed ^ (mixed >> 31)) % limit);
  }
  // Small ones as often as large ones.
  uint32_t size(uint32_t bits) { return below(uint32_t{1} << below(bits)); }

 private:
  uint64_t state_;
};

Verb anyVerb(Random& random, std::span<const Weight> weights) {
  uint32_t total = 0;
  for (const Weight& each : weights) total += each.weight;
  uint32_t left = random.below(total);
  for (const Weight& each : weights) {
    if (left < each.weight) return each.verb;
    left -= each.weight;
  }
  return Verb::elapse;
}

// What the machine and peers do is never done by a handler.
bool ofUser(Verb verb) { return verb < Verb::peerSend && verb != Verb::churn; }

Operation anyOperation(Random& random, bool tls) {
  Operation operation;
  const bool special = tls && random.below(4) == 0;
  operation.verb = special ? anyVerb(random, kTlsWeights) : anyVerb(random, kWeights);
  operation.who = random.below(64);
  operation.amount = random.size(random.below(8) == 0 ? 19 : 14);
  operation.turns = random.below(4);
  if (operation.verb == Verb::throws) {
    operation.when = static_cast<When>(1 + random.below(static_cast<uint32_t>(When::atHandshake)));
  } else if (ofUser(operation.verb) && random.below(3) == 0) {
    operation.when = static_cast<When>(1 + random.below(static_cast<uint32_t>(When::count) - 1));
  }
  return operation;
}

template <size_t Count>
std::optional<uint32_t> placeOf(const std::array<std::string_view, Count>& names,
                                std::string_view name) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return static_cast<uint32_t>(found - names.begin());
}

}  // namespace

Program generate(uint64_t seed, size_t steps) {
  Random random(seed);
  Program program;
  program.seed = seed;
  program.chaos = random.below(10);
  program.kqueue = random.below(3) == 0;
  program.buffers = random.below(4);
  program.budget = random.below(4);
  program.tidy = random.below(8) != 0;
  program.tls = random.below(8) == 0 ? 1 + random.below(3) : 0;
  // Somebody to talk to from the start.
  program.operations.push_back({.verb = Verb::listen, .amount = random.size(14), .turns = 1});
  program.operations.push_back({.verb = Verb::arrive, .turns = 1});
  while (program.operations.size() < steps) {
    program.operations.push_back(anyOperation(random, (program.tls & 2) != 0));
  }
  return program;
}

std::string print(const Program& program) {
  std::ostringstream out;
  out << "program seed " << program.seed << " chaos " << program.chaos << " kqueue "
      << program.kqueue << " buffers " << program.buffers << " budget " << program.budget
      << " tidy " << program.tidy << " tls " << program.tls << '\n';
  for (const Operation& each : program.operations) {
    out << kVerbs[static_cast<size_t>(each.verb)] << ' ' << kWhens[static_cast<size_t>(each.when)]
        << ' ' << each.who << ' ' << each.amount << ' ' << each.turns << '\n';
  }
  return out.str();
}

std::optional<Program> parse(std::string_view text) {
  std::istringstream in{std::string(text)};
  Program program;
  std::string word;
  const auto setting = [&](const char* name, auto& value) {
    return in >> word && word == name && in >> value;
  };
  if (!(in >> word) || word != "program" || !setting("seed", program.seed) ||
      !setting("chaos", program.chaos) || !setting("kqueue", program.kqueue) ||
      !setting("buffers", program.buffers) || !setting("budget", program.budget) ||
      !setting("tidy", program.tidy) || !setting("tls", program.tls)) {
    return std::nullopt;
  }
  std::string when;
  while (in >> word >> when) {
    const auto verb = placeOf(kVerbs, word);
    const auto moment = placeOf(kWhens, when);
    Operation operation;
    if (!verb || !moment || !(in >> operation.who >> operation.amount >> operation.turns)) {
      return std::nullopt;
    }
    operation.verb = static_cast<Verb>(*verb);
    operation.when = static_cast<When>(*moment);
    program.operations.push_back(operation);
  }
  return program;
}

}  // namespace warren::swarm
