"""LSA over writing that a splitter at spaces cannot see, and unchanged over all other writing."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from grasp_jax.texts import scripts
from grasp_jax.vectors.encoders import lsa

# Four groups of words each, and words that all groups use.
LANGUAGES = {
    'english': (' ', 'red new big sale', 'running leather sandal boot sneaker', 'pan pot wok kettle oven',
                'novel comic history poem textbook', 'lamp bulb candle lantern torch'),
    'chinese': ('', '红色 新款 大号 特价', '跑步鞋 皮革 凉鞋 靴子 运动', '煎锅 汤锅 炒锅 水壶 烤箱',
                '小说 漫画 历史 诗歌 教材', '台灯 灯泡 蜡烛 灯笼 手电'),
    'japanese': ('', '赤い 新しい 大きい セール', 'ランニングシューズ 革靴 サンダル ブーツ スニーカー',
                 'フライパン 鍋 中華鍋 やかん オーブン', '小説 漫画 歴史書 詩集 教科書',
                 'ランプ 電球 ろうそく 提灯 懐中電灯'),
    'half-width kana': ('', 'ｱｶｲ ｱﾀﾗｼｲ', 'ﾗﾝﾆﾝｸﾞ ｻﾝﾀﾞﾙ ﾌﾞｰﾂ ｽﾆｰｶｰ', 'ﾌﾗｲﾊﾟﾝ ﾅﾍﾞ ﾔｶﾝ ｵｰﾌﾞﾝ', 'ｼｮｳｾﾂ ﾏﾝｶﾞ ﾚｷｼ ｷｮｳｶｼｮ',
                        'ﾗﾝﾌﾟ ﾃﾞﾝｷｭｳ ﾛｳｿｸ ﾁｮｳﾁﾝ'),
    'thai': ('', 'สีแดง ใหม่ ใหญ่ ลดราคา', 'รองเท้าวิ่ง หนัง รองเท้าแตะ บูท ผ้าใบ', 'กระทะ หม้อ เตา กาน้ำ เตาอบ',
             'นวนิยาย การ์ตูน ประวัติศาสตร์ บทกวี ตำรา', 'โคมไฟ หลอดไฟ เทียน ตะเกียง ไฟฉาย'),
    'khmer': ('', 'ក្រហម ថ្មី ធំ បញ្ចុះតម្លៃ', 'ស្បែកជើងរត់ ស្បែក ស្បែកជើងផ្ទាត់ កវែង ប៉ាតា', 'ខ្ទះ ឆ្នាំង ចង្ក្រាន កំសៀវ',
              'ប្រលោមលោក រឿងគំនូរ ប្រវត្តិសាស្ត្រ កំណាព្យ', 'ចង្កៀង អំពូល ទៀន គោម'),
    'lao': ('', 'ສີແດງ ໃໝ່ ໃຫຍ່ ຫຼຸດ', 'ເກີບແລ່ນ ໜັງ ເກີບແຕະ ເກີບບູດ', 'ກະທະ ໝໍ້ ເຕົາ ກາຕົ້ມ', 'ນະວະນິຍາຍ ກາຕູນ ປະຫວັດ ບົດກະວີ',
            'ໂຄມໄຟ ຫຼອດໄຟ ທຽນ ໄຟສາຍ'),
    'burmese': ('', 'အနီ အသစ် ကြီး လျှော့', 'ဖိနပ် သားရေ ခြေညှပ် ဘွတ် အပြေး',
                'ဒယ်အိုး အိုး မီးဖို ရေနွေးအိုး', 'ဝတ္ထု ကာတွန်း သမိုင်း ကဗျာ စာအုပ်', 'မီးအိမ် မီးသီး ဖယောင်းတိုင် လက်နှိပ်'),
    'hindi': (' ', 'लाल नया बड़ा सेल', 'जूता चमड़ा सैंडल बूट दौड़', 'कड़ाही बर्तन तवा केतली भट्ठी',
              'उपन्यास कॉमिक इतिहास कविता किताब', 'दीपक बल्ब मोमबत्ती लालटेन टॉर्च'),
    'mixed': ('', 'red 新款 Big 特价', 'Nike跑步鞋 皮革 凉鞋boots 靴子', 'Tefal煎锅 汤锅 pot炒锅 水壶',
              'novel小说 漫画 历史 诗歌poem', 'lamp台灯 灯泡 LED蜡烛 灯笼'),
}


def hits(space, common, *groups):
    """Share of the five nearest neighbours of 60 made-up titles that are of the same group, and chance."""
    rng = np.random.default_rng(0)
    groups = [group.split() for group in groups]
    group = np.arange(60) % len(groups)
    texts = ['The item has the following attributes: name is '
             + space.join([*rng.choice(groups[number], 3, replace=False), rng.choice(common.split())]) + '.'
             for number in group]
    items, users, model, _ = lsa.encode(texts, texts, 32, seed=0)
    np.testing.assert_allclose(users, items, atol=1e-5)
    items = items - items.mean(axis=0)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    near = items @ items.T
    np.fill_diagonal(near, -9)
    nearest = np.argsort(-near, axis=1)[:, :5]
    return (group[nearest] == group[:, None]).mean(), 14 / 59, model


@pytest.mark.parametrize('language', LANGUAGES)
def test_neighbours_are_of_one_kind_in_any_writing(language, tmp_path):
    found, chance, model = hits(*LANGUAGES[language])
    assert found > 0.95 > 4 * chance
    model.save(tmp_path)
    texts = [LANGUAGES[language][0].join(LANGUAGES[language][2].split())]
    np.testing.assert_array_equal(lsa.load(tmp_path)(texts), model(texts))
    assert model(texts).any()


LATIN = ['Crème brûlée torch', 'Ångström lamp 🔦', 'L’Oréal lip balm', 'Das große Buch', 'piñata 🎉 set', 'A B C',
         'Красная помада', 'Κόκκινο κραγιόν', 'أحمر شفاه', 'שפתון אדום', '빨간 립스틱 세트', 'Tiếng Việt son môi',
         'naïve ﬁne ½ ™ product', '', '👩‍👩‍👧', 'price ฿ 100'] * 3


def test_all_other_writing_gives_the_vectors_of_before():
    """Bit for bit, also where a text of another writing is embedded by the same model."""
    plain = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents='unicode', dtype=np.float32)
    expected, vectorizer = plain.fit_transform(LATIN), lsa._vectorizer(True)
    found = vectorizer.fit_transform(LATIN)
    assert vectorizer.vocabulary_ == plain.vocabulary_ and (found != expected).nnz == 0
    np.testing.assert_array_equal(vectorizer.idf_, plain.idf_)
    model = lsa.encode(LATIN, LATIN, 8, seed=0)[2]
    both = model([*LATIN, '红色口红'])
    np.testing.assert_array_equal(both[:-1], model(LATIN))
    assert not both[-1].any()


def test_a_model_from_before_there_were_pieces_splits_as_it_did():
    before = lsa.Lsa({'红色口红': 0, 'red': 1}, np.ones(2), np.eye(2))
    assert before(['红色口红', 'red']).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(('text', 'rest', 'pieces'), [
    ('红色T恤', ' t ', ['#红', '#色', '#红色', '#恤']),
    ('กา ab', '  ab', ['#กา']), ('ตำรา', ' ', ['#ตํา', '#ําร', '#ารา', '#ตําร', '#ํารา']),
    ('लाल जूता, नया।', '   ,  ।', ['#लाल', '#जूता', '#लाल जूता', '#नया']),
    ('ＡＢ東京', 'ab ', ['#東', '#京', '#東京']), ('👩\u200d👧 東', '👩 👧  ', ['#東'])])
def test_what_stands_for_words(text, rest, pieces):
    assert scripts.needs_pieces(text) and scripts.split(text) == (rest, pieces)
